//! The contract, over a pool of the filer.

mod abilities;
mod opening;
mod states;

use std::collections::BTreeSet;
use std::sync::Arc;

use ::driver::config::BackendFile;
use ::driver::{
    CreateVolume, Driver, DriverError, DriverInfo, ErrorKind, Import, Outcome, Resize, Result, Snapshots,
    Staging,
};
use async_trait::async_trait;
use filer::{Abilities, FilerError, PoolStats};
use model::{
    Attribute, Bytes, Capacity, Filesystem, Handle, InstanceId, Layout, NodeIdentity, NodeName, Offer,
    Offers, Owner, Permit, Pool, PoolName, Provisioning, Route, VolumeId, VolumeOptions, VolumeState,
};

use crate::config::{Config, accepts};
use crate::error::translate;
use crate::layout::{self, file};
use crate::{DRIVER, media};

/// A pool of this host, opened.
#[derive(Debug)]
pub(crate) struct LinuxDriver {
    info: DriverInfo,
    node: NodeName,
    config: Config,
    file: BackendFile,
    media: Option<&'static str>,
    /// Names that volumes can be placed in; the first is where volumes are that name none.
    pools: Vec<PoolName>,
    filer: Arc<filer::Pool>,
    abilities: Abilities,
    #[cfg(test)]
    calls: std::sync::atomic::AtomicU64,
}

pub(crate) const OPEN: &str = "open backend";

const DEFAULT_SIZE: Bytes = Bytes::gib(1);
/// What the filer takes as a name.
const LONGEST_HANDLE: usize = 200;
/// The label that keeps the pool a volume was placed in.
const POOL_LABEL: &str = "leister.io/pool";
/// The label that keeps what a volume was made as, so that its record can be rebuilt.
const SPEC_LABEL: &str = "leister.io/spec";

impl LinuxDriver {
    pub(crate) async fn open(
        backend: BackendFile,
        config: Config,
        instance: InstanceId,
        node: NodeName,
    ) -> Result<LinuxDriver> {
        let (asked, owner) = (config.clone(), instance.clone());
        let (filer, media) = tokio::task::spawn_blocking(move || {
            let filer = opening::shared(&asked, &owner)?;
            let under = asked.image.as_ref().map_or(&asked.pool, |image| &image.path);
            Ok::<_, DriverError>((filer, asked.media.or_else(|| media::detect(under))))
        })
        .await
        .map_err(|e| died(OPEN, e))??;
        let mut pools: Vec<PoolName> = backend.virtual_pools().cloned().collect();
        if pools.is_empty() {
            pools.push(config.pool_name());
        }
        Ok(LinuxDriver {
            info: DriverInfo { backend: backend.name().clone(), driver: DRIVER, instance },
            node,
            config,
            file: backend,
            media,
            pools,
            abilities: filer.abilities(),
            filer,
            #[cfg(test)]
            calls: std::sync::atomic::AtomicU64::new(0),
        })
    }

    /// One call of the filer, where it may block. It goes on when the caller does not wait for it; the next call
    /// for the same handle waits for its turn.
    async fn filer<T: Send + 'static>(
        &self,
        call: impl FnOnce(&filer::Pool) -> Result<T, FilerError> + Send + 'static,
    ) -> Result<T, Trouble> {
        #[cfg(test)]
        self.calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let filer = self.filer.clone();
        match tokio::task::spawn_blocking(move || call(&filer)).await {
            Ok(result) => result.map_err(Trouble::Filer),
            Err(e) => Err(Trouble::Died(e)),
        }
    }

    async fn find(&self, handle: &Handle) -> Result<Option<filer::VolumeState>, Trouble> {
        let name = handle.to_string();
        self.filer(move |filer| filer.find(&name)).await
    }

    /// Makes a volume, empty or from a source. A refusal because it exists is looked into: the contract asks less
    /// of what exists than the filer does.
    async fn make(
        &self,
        operation: &'static str,
        request: &CreateVolume,
        source: Option<filer::Source>,
    ) -> Result<Outcome<VolumeState>> {
        let wanted = self.wanted(operation, request, source)?;
        let made = self.filer(move |filer| filer.create(&wanted)).await;
        match made {
            Ok(outcome) => self.outcome(operation, outcome),
            Err(Trouble::Filer(error)) if error.kind() == filer::ErrorKind::Conflict => {
                let found = self.find(&request.handle).await.map_err(|e| e.in_operation(operation))?;
                match found.map(|state| self.seen(operation, state)).transpose()? {
                    Some(seen) if same(&seen, request) => Ok(Outcome::Unchanged(seen)),
                    _ => Err(translate(operation, error)),
                }
            }
            Err(Trouble::Filer(error)) if error.kind() == filer::ErrorKind::NoCapacity => {
                let stats = self.filer(filer::Pool::stats).await.map_err(|e| e.in_operation(operation))?;
                Err(request.no_capacity(self.capacity(&stats).free(request.spec.provisioning)).because(error))
            }
            Err(trouble) => Err(trouble.in_operation(operation)),
        }
    }

    fn wanted(
        &self,
        operation: &'static str,
        request: &CreateVolume,
        source: Option<filer::Source>,
    ) -> Result<filer::CreateVolume> {
        let invalid = |problem: String| DriverError::new(ErrorKind::Invalid, operation, problem);
        let spec = &request.spec;
        if !self.pools.contains(&request.pool) {
            let message = format!("backend `{}` has no pool `{}`", self.info.backend, request.pool);
            return Err(DriverError::new(ErrorKind::NotFound, operation, message));
        }
        if let Some(option) = spec.options.keys().find(|option| !accepts().contains(option)) {
            let message = format!("driver `{DRIVER}` has no option {option}");
            return Err(DriverError::new(ErrorKind::Unsupported, operation, message));
        }
        let mut labels = spec.labels.clone();
        labels.insert(POOL_LABEL.to_owned(), request.pool.to_string());
        let made_as = serde_json::to_string(spec).map_err(|e| invalid(e.to_string()))?;
        labels.insert(SPEC_LABEL.to_owned(), made_as);
        if file::snapshot_dir(&spec.options).map_err(invalid)? {
            labels.insert(file::SNAPSHOT_DIR.to_owned(), "true".to_owned());
        }
        let mode = file::mode(&spec.options).map_err(invalid)?;
        let mut wanted =
            filer::CreateVolume::new(request.handle.as_str(), spec.size.round_up(self.abilities.granularity));
        wanted.name = request.volume.to_string();
        wanted.layout = states::layout_of(spec.layout);
        wanted.provisioning = states::provisioning_of(spec.provisioning);
        wanted.mode = mode.filter(|_| spec.layout == Layout::File);
        wanted.source = source;
        wanted.labels = labels;
        Ok(wanted)
    }

    /// # Behavior
    /// Thick space must fit into what is free and leave thin volumes their overcommit limit.
    fn capacity(&self, stats: &PoolStats) -> Capacity {
        let free_thin = stats.thin_limit.saturating_sub(stats.provisioned_thin);
        Capacity {
            total: stats.total,
            used: stats.used,
            provisioned: stats.reserved + stats.provisioned_thin,
            free_thin,
            free_thick: stats.free.min(divided(free_thin, self.config.overcommit)),
        }
    }

    fn check_node(&self, operation: &'static str, node: &NodeName) -> Result<()> {
        if *node == self.node {
            return Ok(());
        }
        let message =
            format!("the pool is local to node `{}`; node `{node}` cannot reach its volumes", self.node);
        Err(DriverError::new(ErrorKind::Unsupported, operation, message))
    }

    fn physical(&self, capacity: Capacity) -> Pool {
        let mut offers = Offers::from([
            (Attribute::BackendType, Offer::words([DRIVER])),
            (Attribute::ProvisioningType, Offer::words(["thin", "thick"])),
            (Attribute::Snapshots, Offer::Bool(true)),
            (Attribute::Clones, Offer::Bool(true)),
            (Attribute::Encryption, Offer::Bool(false)),
        ]);
        if let Some(media) = self.media {
            offers.insert(Attribute::Media, Offer::words([media]));
        }
        Pool {
            backend: self.info.backend.clone(),
            name: self.config.pool_name(),
            offers,
            labels: model::Labels::new(),
            topologies: Vec::new(),
            layouts: self.abilities.layouts.keys().copied().map(states::layout_from).collect(),
            // One node only.
            shared: BTreeSet::new(),
            accepts: accepts(),
            capacity,
            granularity: self.abilities.granularity,
            smallest: self.abilities.smallest,
            largest: None,
            default_size: DEFAULT_SIZE,
            default_provisioning: Provisioning::Thin,
            default_filesystem: Some(Filesystem::Ext4),
            default_options: VolumeOptions::new(),
        }
    }
}

#[async_trait]
impl Driver for LinuxDriver {
    fn info(&self) -> &DriverInfo {
        &self.info
    }

    fn handle(&self, volume: &VolumeId) -> Result<Handle> {
        let invalid = |problem: String| DriverError::new(ErrorKind::Invalid, "name volume", problem);
        let name = format!("{}{volume}", self.config.prefix);
        if name.len() > LONGEST_HANDLE {
            let most = LONGEST_HANDLE - self.config.prefix.len();
            let message = format!("volume name `{volume}` is too long; at most {most} characters fit here");
            return Err(invalid(message));
        }
        Handle::new(name).map_err(|e| invalid(e.to_string()))
    }

    async fn pools(&self) -> Result<Vec<Pool>> {
        let stats = self.filer(filer::Pool::stats).await.map_err(|e| e.in_operation("list pools"))?;
        Ok(self.file.expose(vec![self.physical(self.capacity(&stats))], |_, _| true))
    }

    async fn observe(&self, handle: &Handle) -> Result<Option<VolumeState>> {
        const OPERATION: &str = "observe volume";
        let found = self.find(handle).await.map_err(|e| e.in_operation(OPERATION))?;
        found.map(|state| self.seen(OPERATION, state)).transpose()
    }

    async fn list(&self) -> Result<Vec<VolumeState>> {
        const OPERATION: &str = "list volumes";
        let all = self.filer(filer::Pool::list).await.map_err(|e| e.in_operation(OPERATION))?;
        let ours = all.into_iter().filter(|state| state.owner == self.info.instance.as_str());
        ours.map(|state| self.seen(OPERATION, state)).collect()
    }

    async fn create(&self, request: &CreateVolume) -> Result<Outcome<VolumeState>> {
        self.make("create volume", request, None).await
    }

    async fn delete(&self, handle: &Handle) -> Result<Outcome<()>> {
        let name = handle.to_string();
        let deleted = self.filer(move |filer| {
            match filer.delete(&name) {
                // Permits and owner have been checked by now.
                Err(error) if error.kind() == filer::ErrorKind::InUse => {
                    delete_with_snapshots(filer, &name, error)
                }
                done => done,
            }
        });
        Ok(unit(deleted.await.map_err(|e| e.in_operation("delete volume"))?))
    }

    async fn permit(&self, handle: &Handle, permit: &Permit) -> Result<Outcome<Route>> {
        const OPERATION: &str = "permit node";
        self.check_node(OPERATION, &permit.node.name)?;
        let (name, permit) = (handle.to_string(), permit.clone());
        let permitted = self.filer(move |filer| filer.permit(&name, &permit)).await;
        Ok(match permitted.map_err(|e| e.in_operation(OPERATION))? {
            filer::Outcome::Changed(state) => Outcome::Changed(layout::route(&state)),
            filer::Outcome::Unchanged(state) => Outcome::Unchanged(layout::route(&state)),
        })
    }

    async fn forbid(&self, handle: &Handle, node: &NodeIdentity) -> Result<Outcome<()>> {
        let (name, node) = (handle.to_string(), node.name.clone());
        match self.filer(move |filer| filer.forbid(&name, &node)).await {
            Ok(outcome) => Ok(unit(outcome)),
            Err(Trouble::Filer(error)) if error.kind() == filer::ErrorKind::NotFound => {
                Ok(Outcome::Unchanged(()))
            }
            Err(trouble) => Err(trouble.in_operation("forbid node")),
        }
    }

    fn resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }

    fn import(&self) -> Option<&dyn Import> {
        self.abilities.import.has().then_some(self)
    }

    fn staging(&self) -> Option<&dyn Staging> {
        Some(self)
    }
}

/// Why a call of the filer gave nothing.
#[derive(Debug)]
enum Trouble {
    Filer(FilerError),
    Died(tokio::task::JoinError),
}

impl Trouble {
    fn in_operation(self, operation: &'static str) -> DriverError {
        match self {
            Trouble::Filer(error) => translate(operation, error),
            Trouble::Died(error) => died(operation, error),
        }
    }
}

/// The filer keeps a volume that has snapshots; the contract lets them go with it.
fn delete_with_snapshots(
    filer: &filer::Pool,
    name: &str,
    refusal: FilerError,
) -> Result<filer::Outcome<()>, FilerError> {
    let Some(state) = filer.find(name)? else { return Ok(filer::Outcome::Unchanged(())) };
    if !state.permits.is_empty() {
        return Err(refusal);
    }
    for snapshot in filer.list_snapshots(name)? {
        filer.delete_snapshot(name, &snapshot.name)?;
    }
    filer.delete(name)
}

fn same(seen: &VolumeState, request: &CreateVolume) -> bool {
    seen.owner == Owner::Ours
        && seen.volume.as_ref() == Some(&request.volume)
        && seen.layout == request.spec.layout
}

fn unit<T>(outcome: filer::Outcome<T>) -> Outcome<()> {
    match outcome {
        filer::Outcome::Changed(_) => Outcome::Changed(()),
        filer::Outcome::Unchanged(_) => Outcome::Unchanged(()),
    }
}

fn died(operation: &'static str, error: tokio::task::JoinError) -> DriverError {
    DriverError::new(ErrorKind::Internal, operation, "the work on the pool ended early").because(error)
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a float cast saturates, and the ratio is at least 1"
)]
fn divided(size: Bytes, ratio: f64) -> Bytes {
    Bytes::new((size.get() as f64 / ratio) as u64)
}

#[cfg(test)]
mod tests;
