//! A suite that never fails proves nothing: each lie must be found.

use std::panic::catch_unwind;
use std::sync::Arc;

use async_trait::async_trait;
use driver::conformance::{Trial, claims, interruptions, permits, prove, volumes};
use driver::memory::MemoryDriver;
use driver::{CreateVolume, Driver, DriverInfo, Outcome, Result, Snapshots};
use model::{Handle, NodeIdentity, Permit, Pool, Route, VolumeId, VolumeState};

use crate::memory::Memory;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    EverythingIsChanged,
    NothingIsListed,
    UsersAreIgnored,
    PermitsAreForgotten,
    NobodyIsExcluded,
    SnapshotsAreOfferedOnly,
    CreatesAreInTwoSteps,
}

#[derive(Debug)]
struct Liar {
    lie: Lie,
    inner: Arc<MemoryDriver>,
}

#[async_trait]
impl Driver for Liar {
    fn info(&self) -> &DriverInfo {
        self.inner.info()
    }

    fn handle(&self, volume: &VolumeId) -> Result<Handle> {
        self.inner.handle(volume)
    }

    async fn pools(&self) -> Result<Vec<Pool>> {
        self.inner.pools().await
    }

    async fn observe(&self, handle: &Handle) -> Result<Option<VolumeState>> {
        self.inner.observe(handle).await
    }

    async fn list(&self) -> Result<Vec<VolumeState>> {
        match self.lie {
            Lie::NothingIsListed => Ok(Vec::new()),
            _ => self.inner.list().await,
        }
    }

    async fn create(&self, request: &CreateVolume) -> Result<Outcome<VolumeState>> {
        match self.lie {
            Lie::EverythingIsChanged => {
                self.inner.create(request).await.map(|o| Outcome::Changed(o.into_inner()))
            }
            Lie::CreatesAreInTwoSteps => {
                let mut unfinished = request.clone();
                unfinished.volume = VolumeId::new("unfinished").unwrap();
                self.inner.create(&unfinished).await?;
                self.inner.delete(&request.handle).await?;
                self.inner.create(request).await
            }
            _ => self.inner.create(request).await,
        }
    }

    async fn delete(&self, handle: &Handle) -> Result<Outcome<()>> {
        if self.lie == Lie::UsersAreIgnored
            && let Some(state) = self.inner.observe(handle).await?
        {
            for node in state.permitted {
                self.inner.forbid(handle, &NodeIdentity::named(node)).await?;
            }
        }
        self.inner.delete(handle).await
    }

    async fn permit(&self, handle: &Handle, permit: &Permit) -> Result<Outcome<Route>> {
        if self.lie == Lie::NobodyIsExcluded {
            return self.inner.permit(handle, &Permit::shared(permit.node.clone())).await;
        }
        let permitted = self.inner.permit(handle, permit).await;
        if self.lie == Lie::PermitsAreForgotten {
            self.inner.forbid(handle, &permit.node).await?;
        }
        permitted
    }

    async fn forbid(&self, handle: &Handle, node: &NodeIdentity) -> Result<Outcome<()>> {
        self.inner.forbid(handle, node).await
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        if self.lie == Lie::SnapshotsAreOfferedOnly { None } else { self.inner.snapshots() }
    }
}

macro_rules! found {
    ($($name:ident: $lie:ident, $proof:expr;)+) => {$(
        #[test]
        fn $name() {
            let memory = || Memory::wrapped(|inner| Arc::new(Liar { lie: Lie::$lie, inner }));
            let proven = catch_unwind(|| prove(async || memory(), async |trial: &Trial| $proof(trial).await));
            assert!(proven.is_err(), "the suite believes it");
        }
    )+};
}

found! {
    a_driver_that_says_changed_always_is_found: EverythingIsChanged, volumes::creating_twice_changes_nothing;
    a_driver_that_lists_nothing_is_found: NothingIsListed, volumes::a_created_volume_is_observed_listed_and_counted;
    a_driver_that_deletes_what_is_used_is_found: UsersAreIgnored, volumes::a_permitted_volume_is_not_deleted;
    a_driver_that_forgets_permits_is_found: PermitsAreForgotten, permits::permitting_is_idempotent_and_observed;
    a_driver_that_excludes_nobody_is_found: NobodyIsExcluded, permits::an_exclusive_permit_excludes_others;
    an_offer_without_the_ability_is_found: SnapshotsAreOfferedOnly, claims::pools_offer_what_the_driver_can_do;
    a_create_that_cannot_be_interrupted_is_found: CreatesAreInTwoSteps, interruptions::an_interrupted_create_can_be_repeated;
}
