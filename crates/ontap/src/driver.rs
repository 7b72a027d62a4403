//! The contract, over one SVM.

mod clones;
mod economy;
mod groups;
mod growth;
mod import;
mod modify;
mod opening;
mod snapshots;
mod space;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use ::driver::ErrorKind::{Conflict, InUse, NotFound};
use ::driver::config::BackendFile;
use ::driver::{
    CreateVolume, Driver, DriverError, DriverInfo, ErrorKind, Import, Modify, Outcome, Resize, Result,
    Snapshots, Staging,
};
use async_trait::async_trait;
use model::{
    Handle, Layout, NodeIdentity, NodeName, Owner, Permit, Pool, PoolName, Route, VolumeId, VolumeState,
};

use crate::access::nfs::Book;
use crate::access::{FORBID, PERMIT, no_unit};
use crate::config::Kind;
use crate::error::ABSENT;
use crate::layout::{Array, Found, LONGEST_NAME, LONGEST_QTREE, Seen, Unit, Wanted};
use crate::wire::volumes;

/// One SVM of an array, opened.
#[derive(Debug)]
pub(crate) struct OntapDriver {
    info: DriverInfo,
    file: BackendFile,
    array: Array,
    book: Book,
    /// What was free when the pools were listed last, for placing within a virtual pool and for early refusals.
    seen: Mutex<HashMap<PoolName, Pool>>,
    /// Volumes that have been cloned as they were at that moment: the array keeps a snapshot for each clone.
    cloned: Mutex<HashMap<Handle, Arc<clones::Cloned>>>,
}

pub(crate) const OPEN: &str = "open backend";
const CREATE: &str = "create volume";

impl OntapDriver {
    /// The volume, if it is ours.
    async fn ours(&self, handle: &Handle, operation: &'static str) -> Result<Found> {
        let found = self.array.find(handle).await.map_err(self.array.error(operation))?;
        let found = found.ok_or_else(|| {
            DriverError::new(ErrorKind::NotFound, operation, format!("no volume `{handle}`"))
        })?;
        match found.owner(&self.array) {
            Owner::Ours => Ok(found),
            _ => {
                let message = format!("`{handle}` is not this instance's");
                Err(DriverError::new(ErrorKind::Conflict, operation, message))
            }
        }
    }

    async fn permitted(&self, found: &Found, operation: &'static str) -> Result<BTreeSet<NodeName>> {
        match self.array.layout() {
            Layout::Block => Ok(self.array.nodes_of(found)),
            Layout::File => match found.policy() {
                None => Ok(BTreeSet::new()),
                Some(policy) => {
                    let exported = self.array.exported(&self.book, Some(policy)).await;
                    let mut exported = exported.map_err(self.array.error(operation))?;
                    Ok(exported.remove(policy).unwrap_or_default())
                }
            },
        }
    }

    async fn state(&self, found: &Found, operation: &'static str) -> Result<VolumeState> {
        let permitted = self.permitted(found, operation).await?;
        Ok(found.state(&self.array, permitted))
    }

    /// The state of a volume that has just been made, or that stood in the way.
    async fn made(
        &self,
        handle: &Handle,
        id: &VolumeId,
        fresh: bool,
        operation: &'static str,
    ) -> Result<Outcome<VolumeState>> {
        self.made_now(handle, id, fresh, operation).await.map(|(_, outcome)| outcome)
    }

    /// As `made`, and the volume itself.
    async fn made_now(
        &self,
        handle: &Handle,
        id: &VolumeId,
        fresh: bool,
        operation: &'static str,
    ) -> Result<(Found, Outcome<VolumeState>)> {
        let found = self.array.find(handle).await.map_err(self.array.error(operation))?;
        let found = found.ok_or_else(|| {
            let message = format!("`{handle}` vanished while it was being made");
            DriverError::new(ErrorKind::Busy, operation, message)
        })?;
        let same = found.owner(&self.array) == Owner::Ours
            && found.tag.as_ref().is_some_and(|tag| tag.volume == *id);
        if !same {
            let message = format!("`{handle}` exists and is another volume");
            return Err(DriverError::new(ErrorKind::Conflict, operation, message));
        }
        let state = self.state(&found, operation).await?;
        Ok((found, if fresh { Outcome::Changed(state) } else { Outcome::Unchanged(state) }))
    }

    async fn grant(&self, handle: &Handle, seen: &Seen, permit: &Permit) -> Result<Outcome<Route>> {
        match &seen.unit {
            Unit::Files => self.array.export(&self.book, handle, seen, permit).await,
            Unit::Lun(lun) => self.array.map(handle, lun, permit).await,
            Unit::Namespace(namespace) => self.array.connect(handle, namespace, permit).await,
            Unit::Qtree(qtree) => self.array.export_qtree(&self.book, handle, qtree, permit).await,
            Unit::Missing => Err(no_unit(handle)),
        }
    }

    /// The part of a block volume that nodes see; says whether it was missing. A fresh volume has none.
    async fn complete(&self, request: &CreateVolume, fresh: bool, operation: &'static str) -> Result<bool> {
        if self.array.layout() == Layout::File {
            return Ok(false);
        }
        if !fresh && !matches!(self.ours(&request.handle, operation).await?.unit, Unit::Missing) {
            return Ok(false);
        }
        let choices = self.array.choices(&request.spec, operation)?;
        match self.array.is_nvme() {
            true => self.array.make_namespace(&request.handle, &request.spec, operation).await?,
            false => self.array.make_lun(&request.handle, &request.spec, &choices, operation).await?,
        }
        Ok(true)
    }
}

#[async_trait]
impl Driver for OntapDriver {
    fn info(&self) -> &DriverInfo {
        &self.info
    }

    /// What ONTAP does not take in a name becomes `_`, as Trident has it.
    fn handle(&self, volume: &VolumeId) -> Result<Handle> {
        let invalid = |problem: String| DriverError::new(ErrorKind::Invalid, "name volume", problem);
        let raw = format!("{}{volume}", self.array.config.prefix);
        let mut name: String = raw.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            name.insert(0, '_');
        }
        let longest = if self.array.config.kind == Kind::NasEconomy { LONGEST_QTREE } else { LONGEST_NAME };
        if name.len() > longest {
            let most = longest - self.array.config.prefix.len();
            let message = format!("volume name `{volume}` is too long; at most {most} characters fit here");
            return Err(invalid(message));
        }
        Handle::new(name).map_err(|e| invalid(e.to_string()))
    }

    async fn pools(&self) -> Result<Vec<Pool>> {
        self.look_at_pools().await
    }

    async fn observe(&self, handle: &Handle) -> Result<Option<VolumeState>> {
        const OPERATION: &str = "observe volume";
        match self.array.find(handle).await.map_err(self.array.error(OPERATION))? {
            Some(found) => Ok(Some(self.state(&found, OPERATION).await?)),
            None => Ok(None),
        }
    }

    async fn list(&self) -> Result<Vec<VolumeState>> {
        const OPERATION: &str = "list volumes";
        let fail = self.array.error(OPERATION);
        let mut all = self.array.list().await.map_err(&fail)?;
        all.retain(|found| !self.array.is_unmade(found));
        if self.array.layout() == Layout::Block {
            let state = |found: &Found| found.state(&self.array, self.array.nodes_of(found));
            return Ok(all.iter().map(state).collect());
        }
        let mut exported = match all.iter().any(|found| found.policy().is_some()) {
            true => self.array.exported(&self.book, None).await.map_err(&fail)?,
            false => HashMap::new(),
        };
        let state = |found: &Found| {
            let permitted = found.policy().and_then(|policy| exported.remove(policy));
            found.state(&self.array, permitted.unwrap_or_default())
        };
        Ok(all.iter().map(state).collect())
    }

    async fn create(&self, request: &CreateVolume) -> Result<Outcome<VolumeState>> {
        if self.array.config.kind.is_economy() {
            return self.create_shared(request, CREATE).await;
        }
        let aggregate = self.place(request, CREATE).await?;
        let wanted = Wanted {
            handle: &request.handle,
            id: &request.volume,
            spec: &request.spec,
            pool: &request.pool,
            aggregate: aggregate.as_deref(),
        };
        let fresh = self.array.make(&wanted, CREATE).await.map_err(|e| self.full(request, e))?;
        let completed = match fresh {
            true => self.complete(request, true, CREATE).await.map_err(|e| self.full(request, e))?,
            false => match self.made(&request.handle, &request.volume, false, CREATE).await? {
                Outcome::Changed(state) | Outcome::Unchanged(state)
                    if self.array.layout() == Layout::File =>
                {
                    return Ok(Outcome::Unchanged(state));
                }
                _ => self.complete(request, false, CREATE).await?,
            },
        };
        self.made(&request.handle, &request.volume, fresh || completed, CREATE).await
    }

    async fn delete(&self, handle: &Handle) -> Result<Outcome<()>> {
        const OPERATION: &str = "delete volume";
        let fail = self.array.error(OPERATION);
        let Some(found) = self.array.find(handle).await.map_err(&fail)? else {
            return Ok(Outcome::Unchanged(()));
        };
        if self.array.is_unmade_qtree(&found) {
            return self.delete_shared(&found, OPERATION).await;
        }
        if found.owner(&self.array) != Owner::Ours {
            let message = format!("`{handle}` is not this instance's");
            return Err(DriverError::new(ErrorKind::Conflict, OPERATION, message));
        }
        if let Some(node) = self.permitted(&found, OPERATION).await?.first() {
            let message = format!("`{handle}` is permitted to node `{node}`");
            return Err(DriverError::new(ErrorKind::InUse, OPERATION, message));
        }
        if self.array.config.kind.is_economy() {
            return self.delete_shared(&found, OPERATION).await;
        }
        if found.volume.is_mounted() {
            self.array.unmount(&found.volume).await.map_err(&fail)?;
        }
        let for_good = found.choices().skip_recovery_queue;
        let mut deleted = volumes::delete(&self.array.client, &found.volume.uuid, for_good).await;
        if deleted.as_ref().is_err_and(|error| error.refusal().is_some() && !error.is(ABSENT))
            && self.array.config.kind != Kind::NasFlexGroup
            && self.release(&[handle.as_str()], OPERATION).await?
        {
            deleted = volumes::delete(&self.array.client, &found.volume.uuid, for_good).await;
        }
        match deleted {
            Err(error) if !error.is(ABSENT) => Err(fail(error)),
            _ => {
                self.array.known.forget(handle);
                Ok(Outcome::Changed(()))
            }
        }
    }

    async fn permit(&self, handle: &Handle, permit: &Permit) -> Result<Outcome<Route>> {
        if let Some(seen) = self.array.known.get(handle).filter(|seen| !seen.exported) {
            match self.grant(handle, &seen, permit).await {
                // It is not as it was: look, and say what it is.
                Err(error) if matches!(error.kind, NotFound | Conflict | InUse) => {}
                done => return done,
            }
        }
        let found = self.ours(handle, PERMIT).await?;
        self.grant(handle, &Seen::of(&found), permit).await
    }

    async fn forbid(&self, handle: &Handle, node: &NodeIdentity) -> Result<Outcome<()>> {
        let fail = self.array.error(FORBID);
        let Some(found) = self.array.find(handle).await.map_err(fail)? else {
            return Ok(Outcome::Unchanged(()));
        };
        if found.owner(&self.array) != Owner::Ours {
            let message = format!("`{handle}` is not this instance's");
            return Err(DriverError::new(ErrorKind::Conflict, FORBID, message));
        }
        let changed = match self.array.layout() {
            Layout::File => {
                let policy = match &found.unit {
                    Unit::Qtree(qtree) => qtree.policy().unwrap_or_default(),
                    _ => handle.as_str(),
                };
                self.array.unexport(&self.book, handle, policy, &node.name).await?
            }
            Layout::Block if self.array.is_nvme() => self.array.disconnect(&found, &node.name).await?,
            Layout::Block => self.array.unmap_node(&found, &node.name).await?,
        };
        // Whoever is still let in is looked for before the next permit.
        self.array.known.change(handle, |seen| match &mut seen.unit {
            Unit::Lun(lun) => lun.lun_maps.clear(),
            Unit::Namespace(namespace) => namespace.subsystem_map = None,
            Unit::Files | Unit::Qtree(_) | Unit::Missing => seen.exported = false,
        });
        Ok(if changed { Outcome::Changed(()) } else { Outcome::Unchanged(()) })
    }

    fn resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }

    fn modify(&self) -> Option<&dyn Modify> {
        Some(self)
    }

    /// A qtree can be pictured only together with all others of its FlexVol, and not be put back at all.
    fn snapshots(&self) -> Option<&dyn Snapshots> {
        (self.array.config.kind != Kind::NasEconomy).then_some(self)
    }

    fn import(&self) -> Option<&dyn Import> {
        Some(self)
    }

    fn staging(&self) -> Option<&dyn Staging> {
        (self.array.layout() == Layout::Block).then_some(self)
    }
}

#[async_trait]
impl Staging for OntapDriver {
    async fn mark_staged(&self, handle: &Handle) -> Result<Outcome<()>> {
        const OPERATION: &str = "mark volume as staged";
        let found = self.ours(handle, OPERATION).await?;
        if found.tag.as_ref().is_some_and(|tag| tag.staged) {
            return Ok(Outcome::Unchanged(()));
        }
        self.array.retag(&found, true, OPERATION).await?;
        Ok(Outcome::Changed(()))
    }
}
