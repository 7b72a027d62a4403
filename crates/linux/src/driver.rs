//! The contract, over a pool of the filer, here or on another machine.

mod abilities;
mod opening;
mod states;

use std::collections::BTreeSet;

use ::driver::config::BackendFile;
use ::driver::{
    CreateVolume, Driver, DriverError, DriverInfo, ErrorKind, Import, Modify, Outcome, Resize, Result,
    Snapshots, Staging,
};
use async_trait::async_trait;
use filer::{Client, PoolStats, Wire};
use model::{
    Attribute, Bytes, Capacity, Filesystem, Handle, InstanceId, Layout, NodeIdentity, NodeName, Offer,
    Offers, Owner, Permit, Pool, PoolName, Provisioning, Route, VolumeId, VolumeOption, VolumeOptions,
    VolumeState,
};

use crate::array::{Array, Limits, Space, Trouble, died, the_pool};
use crate::config::{Config, Local, Place, Remote, accepts};
use crate::layout::file;
use crate::{DRIVER, media};

/// A pool, opened.
#[derive(Debug)]
pub(crate) struct LinuxDriver {
    info: DriverInfo,
    node: NodeName,
    config: Config,
    file: BackendFile,
    media: Option<&'static str>,
    /// What the pool is called itself.
    pool: PoolName,
    /// Names that volumes can be placed in; the first is where volumes are that name none.
    pools: Vec<PoolName>,
    array: Array,
    limits: Limits,
}

pub(crate) const OPEN: &str = "open backend";

const DEFAULT_SIZE: Bytes = Bytes::gib(1);
/// What the filer takes as a name.
const LONGEST_HANDLE: usize = 200;
/// A filer elsewhere puts the tenant's name before it.
const LONGEST_REMOTE_HANDLE: usize = LONGEST_HANDLE - 64;
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
        let Opened { pool, array, limits, media } = match &config.place {
            Place::Local(local) => open_local(local, config.media, &instance).await?,
            Place::Remote(remote) => open_remote(remote, config.media, &instance).await?,
        };
        let mut pools: Vec<PoolName> = backend.virtual_pools().cloned().collect();
        if pools.is_empty() {
            pools.push(pool.clone());
        }
        let info = DriverInfo { backend: backend.name().clone(), driver: DRIVER, instance };
        Ok(LinuxDriver { info, node, config, file: backend, media, pool, pools, array, limits })
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
        let made = self.array.create(wanted).await;
        match made {
            Ok(outcome) => self.outcome(operation, outcome),
            Err(trouble) if trouble.is(filer::ErrorKind::Conflict) => {
                let found = self.array.find(request.handle.as_str()).await;
                let found = found.map_err(|e| e.in_operation(operation))?;
                match found.map(|state| self.seen(operation, state)).transpose()? {
                    Some(seen) if same(&seen, request) => Ok(Outcome::Unchanged(seen)),
                    _ => Err(trouble.in_operation(operation)),
                }
            }
            Err(trouble) if trouble.is(filer::ErrorKind::NoCapacity) => {
                let space = self.array.space().await.map_err(|e| e.in_operation(operation))?;
                let free = self.capacity(&space).free(request.spec.provisioning);
                Err(request.no_capacity(free).because(trouble.in_operation(operation)))
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
        if let Some(flag) = spec.options.get(&VolumeOption::LuksEncryption) {
            file::flag(flag).map_err(|e| invalid(format!("{}: {e}", VolumeOption::LuksEncryption)))?;
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
            filer::CreateVolume::new(request.handle.as_str(), spec.size.round_up(self.limits.granularity));
        wanted.name = request.volume.to_string();
        wanted.layout = states::layout_of(spec.layout);
        wanted.provisioning = states::provisioning_of(spec.provisioning);
        wanted.mode = mode.filter(|_| spec.layout == Layout::File);
        wanted.source = source;
        wanted.labels = labels;
        self.array.label(&mut wanted, spec.layout);
        Ok(wanted)
    }

    /// # Behavior
    /// Thick space must fit into what is free and leave thin volumes their overcommit limit.
    fn capacity(&self, space: &Space) -> Capacity {
        let stats: &PoolStats = &space.stats;
        let free_thin = stats.thin_limit.saturating_sub(stats.provisioned_thin);
        let free_thick = stats.free.min(divided(free_thin, space.overcommit));
        Capacity {
            total: stats.total,
            used: stats.used,
            provisioned: stats.reserved + stats.provisioned_thin,
            free_thin,
            free_thick: if self.limits.thick { free_thick } else { Bytes::ZERO },
        }
    }

    fn check_node(&self, operation: &'static str, node: &NodeName) -> Result<()> {
        if *node == self.node || matches!(self.config.place, Place::Remote(_)) {
            return Ok(());
        }
        let message =
            format!("the pool is local to node `{}`; node `{node}` cannot reach its volumes", self.node);
        Err(DriverError::new(ErrorKind::Unsupported, operation, message))
    }

    /// The layouts that can be had, each by its wire if it needs one.
    fn layouts(&self, served: Option<&[Wire]>) -> BTreeSet<Layout> {
        let all = self.limits.layouts.iter().copied().map(states::layout_from);
        match (&self.config.place, served) {
            (Place::Remote(remote), Some(served)) => {
                // A filer that serves nothing keeps volumes all the same.
                let offered = |wire| served.is_empty() || served.contains(&wire);
                all.filter(|layout| remote.wire(*layout).is_some_and(offered)).collect()
            }
            _ => all.collect(),
        }
    }

    fn provisioning(&self) -> &'static [&'static str] {
        if self.limits.thick { &["thin", "thick"] } else { &["thin"] }
    }

    fn physical(&self, space: &Space) -> Pool {
        let mut offers = Offers::from([
            (Attribute::BackendType, Offer::words([DRIVER])),
            (Attribute::ProvisioningType, Offer::words(self.provisioning().iter().copied())),
            (Attribute::Snapshots, Offer::Bool(true)),
            (Attribute::Clones, Offer::Bool(true)),
            (Attribute::Encryption, Offer::Bool(false)),
        ]);
        if let Some(media) = self.media {
            offers.insert(Attribute::Media, Offer::words([media]));
        }
        let layouts = self.layouts(space.wires.as_deref());
        let mut shared = BTreeSet::new();
        if let Place::Remote(remote) = &self.config.place {
            for layout in &layouts {
                match remote.wire(*layout) {
                    Some(Wire::Nfs) => {
                        shared.insert(Layout::File);
                        offers.insert(Attribute::NasType, Offer::words([Wire::Nfs.as_str()]));
                    }
                    Some(wire) => {
                        offers.insert(Attribute::SanType, Offer::words([wire.as_str()]));
                    }
                    None => {}
                }
            }
        }
        Pool {
            backend: self.info.backend.clone(),
            name: self.pool.clone(),
            offers,
            labels: model::Labels::new(),
            topologies: Vec::new(),
            layouts,
            shared,
            accepts: accepts(),
            capacity: self.capacity(space),
            granularity: self.limits.granularity,
            smallest: self.limits.smallest,
            largest: None,
            default_size: DEFAULT_SIZE,
            default_provisioning: Provisioning::Thin,
            default_filesystem: Some(Filesystem::Ext4),
            default_options: VolumeOptions::new(),
            name_template: None,
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
        let longest = match self.config.place {
            Place::Local(_) => LONGEST_HANDLE,
            Place::Remote(_) => LONGEST_REMOTE_HANDLE,
        };
        if name.len() > longest {
            let most = longest.saturating_sub(self.config.prefix.len());
            let message = format!("volume name `{volume}` is too long; at most {most} characters fit here");
            return Err(invalid(message));
        }
        Handle::new(name).map_err(|e| invalid(e.to_string()))
    }

    async fn pools(&self) -> Result<Vec<Pool>> {
        let space = self.array.space().await.map_err(|e| e.in_operation("list pools"))?;
        Ok(self.file.expose(vec![self.physical(&space)], |_, _| true))
    }

    async fn observe(&self, handle: &Handle) -> Result<Option<VolumeState>> {
        const OPERATION: &str = "observe volume";
        let found = self.array.find(handle.as_str()).await.map_err(|e| e.in_operation(OPERATION))?;
        found.map(|state| self.seen(OPERATION, state)).transpose()
    }

    async fn list(&self) -> Result<Vec<VolumeState>> {
        const OPERATION: &str = "list volumes";
        let all = self.array.list().await.map_err(|e| e.in_operation(OPERATION))?;
        let ours = all.into_iter().filter(|state| state.owner == self.info.instance.as_str());
        ours.map(|state| self.seen(OPERATION, state)).collect()
    }

    async fn create(&self, request: &CreateVolume) -> Result<Outcome<VolumeState>> {
        self.make("create volume", request, None).await
    }

    async fn delete(&self, handle: &Handle) -> Result<Outcome<()>> {
        let deleted = self.array.delete(handle.as_str()).await;
        Ok(contract(deleted.map_err(|e| e.in_operation("delete volume"))?))
    }

    async fn permit(&self, handle: &Handle, permit: &Permit) -> Result<Outcome<Route>> {
        const OPERATION: &str = "permit node";
        self.check_node(OPERATION, &permit.node.name)?;
        if !permit.node.other_initiators.is_empty() {
            let found = self.array.find(handle.as_str()).await.map_err(|e| e.in_operation(OPERATION))?;
            if found.is_some_and(|state| state.layout == filer::Layout::Block) {
                let message =
                    format!("`{handle}` lets in one initiator, and `{}` has several", permit.node.name);
                return Err(DriverError::new(ErrorKind::Unsupported, OPERATION, message));
            }
        }
        let permitted = self.array.permit(handle.as_str(), permit).await;
        Ok(contract(permitted.map_err(|e| e.in_operation(OPERATION))?))
    }

    async fn forbid(&self, handle: &Handle, node: &NodeIdentity) -> Result<Outcome<()>> {
        match self.array.forbid(handle.as_str(), &node.name).await {
            Ok(outcome) => Ok(contract(outcome)),
            Err(trouble) if trouble.is(filer::ErrorKind::NotFound) => Ok(Outcome::Unchanged(())),
            Err(trouble) => Err(trouble.in_operation("forbid node")),
        }
    }

    fn resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }

    fn modify(&self) -> Option<&dyn Modify> {
        Some(self)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }

    fn import(&self) -> Option<&dyn Import> {
        self.limits.imports.then_some(self)
    }

    fn staging(&self) -> Option<&dyn Staging> {
        Some(self)
    }
}

fn same(seen: &VolumeState, request: &CreateVolume) -> bool {
    seen.owner == Owner::Ours
        && seen.volume.as_ref() == Some(&request.volume)
        && seen.layout == request.spec.layout
}

fn contract<T>(outcome: filer::Outcome<T>) -> Outcome<T> {
    match outcome {
        filer::Outcome::Changed(value) => Outcome::Changed(value),
        filer::Outcome::Unchanged(value) => Outcome::Unchanged(value),
    }
}

/// A pool that has been opened, and what was learnt by it.
struct Opened {
    pool: PoolName,
    array: Array,
    limits: Limits,
    media: Option<&'static str>,
}

async fn open_local(local: &Local, media: Option<&'static str>, instance: &InstanceId) -> Result<Opened> {
    let (asked, owner) = (local.clone(), instance.clone());
    let (pool, media) = tokio::task::spawn_blocking(move || {
        let pool = opening::shared(&asked, &owner)?;
        let under = asked.image.as_ref().map_or(&asked.pool, |image| &image.path);
        Ok::<_, DriverError>((pool, media.or_else(|| media::detect(under))))
    })
    .await
    .map_err(|e| died(OPEN, e))??;
    let limits = Limits::of_pool(&pool);
    let array = Array::Local { pool, overcommit: local.overcommit, calls: 0.into() };
    Ok(Opened { pool: local.pool_name(), array, limits, media })
}

/// Asks the filer once: one that cannot be reached or does not believe us is found now.
async fn open_remote(remote: &Remote, media: Option<&'static str>, instance: &InstanceId) -> Result<Opened> {
    let client = Client::new(&remote.url, instance.as_str(), &remote.trust)
        .map_err(|e| Trouble::Filer(e).in_operation(OPEN))?;
    let view = the_pool(&client).await.map_err(|e| Trouble::Filer(e).in_operation(OPEN))?;
    let name = PoolName::new(&view.name).map_err(|e| {
        DriverError::new(ErrorKind::Internal, OPEN, "the filer's pool has a name that cannot be one")
            .because(e)
    })?;
    let limits = Limits::of_view(&view);
    Ok(Opened {
        pool: name,
        array: Array::Remote { client, config: Box::new(remote.clone()) },
        limits,
        media,
    })
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
