use std::fmt::Debug;
use std::sync::Arc;

use model::{
    Bytes, Handle, InstanceId, Labels, NodeIdentity, Permit, Pool, Provisioning, Route, SnapshotName,
    SnapshotState, VolumeId, VolumeOptions, VolumeSpec, VolumeState,
};

use super::Fixture;
use crate::{
    Clones, CreateVolume, Driver, DriverError, ErrorKind, Groups, Import, Modify, ModifyVolume, Outcome,
    Resize, Result, Snapshots, Staging,
};

/// One proof's array, with short words for what proofs do.
pub struct Trial {
    pub(super) fixture: Box<dyn Fixture>,
}

impl Trial {
    pub(super) fn new(fixture: Box<dyn Fixture>) -> Trial {
        Trial { fixture }
    }

    pub(super) fn driver(&self) -> Arc<dyn Driver> {
        self.fixture.driver()
    }

    pub(super) fn node(&self) -> NodeIdentity {
        must(self.fixture.nodes().into_iter().next().ok_or("the fixture has no node"))
    }

    /// The first pool that takes this suite's layout.
    pub(super) async fn pool(&self) -> Pool {
        let pools = must(self.driver().pools().await);
        let fits = pools.into_iter().find(|pool| pool.layouts.contains(&self.fixture.layout()));
        must(fits.ok_or("no pool takes the layout"))
    }

    pub(super) fn id(&self, name: &str) -> VolumeId {
        must(VolumeId::new(name))
    }

    pub(super) fn handle(&self, name: &str) -> Handle {
        must(self.driver().handle(&self.id(name)))
    }

    pub(super) async fn request(&self, name: &str) -> CreateVolume {
        let pool = self.pool().await;
        let size = pool.smallest.max(Bytes::mib(16)).round_up(pool.granularity);
        CreateVolume {
            handle: self.handle(name),
            volume: self.id(name),
            pool: pool.name,
            spec: VolumeSpec {
                size,
                layout: self.fixture.layout(),
                filesystem: None,
                provisioning: Provisioning::Thin,
                access: model::AccessMode::default(),
                class: None,
                source: None,
                options: VolumeOptions::new(),
                mount_options: Vec::new(),
                labels: Labels::new(),
            },
        }
    }

    /// The ability to change such volumes, or says that it is skipped.
    pub(super) fn modify<'a>(&self, driver: &'a dyn Driver) -> Option<&'a dyn Modify> {
        let ability = driver.modify().filter(|_| !self.fixture.changes().is_empty());
        if ability.is_none() {
            skip(&format!("driver `{}` changes no options of such volumes", driver.info().driver));
        }
        ability
    }

    /// The fixture's changes of a volume.
    pub(super) async fn modification(&self, handle: &Handle) -> ModifyVolume {
        let (changes, mut spec) = (self.fixture.changes(), self.request("x").await.spec);
        spec.options.extend(changes.clone());
        ModifyVolume { handle: handle.clone(), changes, spec }
    }

    /// What the backend keeps of it, where it does, has the fixture's changes.
    #[track_caller]
    pub(super) fn is_modified(&self, seen: &VolumeState) {
        let Some(kept) = &seen.made_as else { return };
        for (option, value) in self.fixture.changes() {
            assert_eq!(kept.options.get(&option), Some(&value), "{option}");
        }
    }

    pub(super) async fn create(&self, name: &str) -> VolumeState {
        changed(self.driver().create(&self.request(name).await).await)
    }

    /// Creates a volume that holds `content`.
    pub(super) async fn fill(&self, name: &str, content: u64) -> Handle {
        let handle = self.create(name).await.handle;
        self.write(&handle, content).await;
        handle
    }

    pub(super) async fn write(&self, handle: &Handle, content: u64) {
        let route = self.permit(handle).await;
        self.fixture.write(&route, content).await;
        self.forbid(handle).await;
    }

    pub(super) async fn read(&self, handle: &Handle) -> u64 {
        let route = self.permit(handle).await;
        let content = self.fixture.read(&route).await;
        self.forbid(handle).await;
        content
    }

    pub(super) async fn permit(&self, handle: &Handle) -> Route {
        must(self.driver().permit(handle, &Permit::shared(self.node())).await).into_inner()
    }

    pub(super) async fn forbid(&self, handle: &Handle) {
        must(self.driver().forbid(handle, &self.node()).await);
    }

    pub(super) async fn observe(&self, handle: &Handle) -> VolumeState {
        must(self.find(handle).await.ok_or(format!("`{handle}` is not there")))
    }

    pub(super) async fn find(&self, handle: &Handle) -> Option<VolumeState> {
        must(self.driver().observe(handle).await)
    }

    pub(super) async fn listed(&self, handle: &Handle) -> Vec<VolumeState> {
        must(self.driver().list().await).into_iter().filter(|v| v.handle == *handle).collect()
    }

    /// Observing and listing say the same: a volume of ours, once.
    pub(super) async fn agree(&self, handle: &Handle) -> VolumeState {
        let seen = self.observe(handle).await;
        let listed = self.listed(handle).await;
        assert_eq!(listed.len(), 1, "`{handle}` is listed {} times", listed.len());
        let (mut a, mut b) = (seen.clone(), listed[0].clone());
        (a.used, b.used) = (None, None);
        assert_eq!(a, b, "observe and list differ");
        seen
    }

    pub(super) async fn gone(&self, handle: &Handle) {
        assert_eq!(self.find(handle).await, None, "`{handle}` is still there");
        assert_eq!(self.listed(handle).await, [], "`{handle}` is still listed");
    }

    pub(super) fn other(&self) -> InstanceId {
        must(InstanceId::new("somebody-else"))
    }
}

/// Calls `then` with the ability, or says that it is skipped.
macro_rules! ability {
    ($name:ident, $trait:ident, $what:literal, $driver:ident => $get:expr) => {
        pub(super) fn $name($driver: &dyn Driver) -> Option<&dyn $trait> {
            let ability: Option<&dyn $trait> = $get;
            if ability.is_none() {
                skip(&format!("driver `{}` does not {}", $driver.info().driver, $what));
            }
            ability
        }
    };
}

ability!(resize, Resize, "grow volumes", driver => driver.resize());
ability!(snapshots, Snapshots, "take snapshots", driver => driver.snapshots());
ability!(clones, Clones, "clone", driver => driver.snapshots().and_then(|s| s.clones()));
ability!(staging, Staging, "remember what was put to use", driver => driver.staging());
ability!(import, Import, "import", driver => driver.import());

/// The ability to snapshot several volumes at one instant, or says that it is skipped.
pub(super) fn groups(driver: &dyn Driver) -> Option<&dyn Groups> {
    match snapshots(driver)?.groups() {
        Ok(groups) => Some(groups),
        Err(reason) => {
            assert!(!reason.is_empty(), "it does not say why");
            skip(&format!(
                "driver `{}` takes no snapshots of several volumes at one instant, because {reason}",
                driver.info().driver
            ));
            None
        }
    }
}

#[allow(clippy::print_stderr, reason = "a skipped proof says why, to the person who runs the tests")]
pub(super) fn skip(reason: &str) {
    // Not `skipped`: that is said where the machine lacks something, and counted.
    eprintln!("does not apply: {reason}");
}

#[track_caller]
pub(super) fn must<T, E: ToString>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(e) => panic!("{}", e.to_string()),
    }
}

#[track_caller]
pub(super) fn changed<T: Debug>(result: Result<Outcome<T>>) -> T {
    match must(result) {
        Outcome::Changed(value) => value,
        Outcome::Unchanged(value) => panic!("says that nothing had to be done: {value:?}"),
    }
}

#[track_caller]
pub(super) fn unchanged<T: Debug>(result: Result<Outcome<T>>) -> T {
    match must(result) {
        Outcome::Unchanged(value) => value,
        Outcome::Changed(value) => panic!("says that it did something: {value:?}"),
    }
}

#[track_caller]
pub(super) fn refused<T: Debug>(result: Result<T>, kind: ErrorKind) -> DriverError {
    match result {
        Ok(value) => panic!("must be refused ({}), but gave {value:?}", kind.as_str()),
        Err(e) if e.kind == kind => e,
        Err(e) => panic!("must be refused with `{}`, but: {}: {e}", kind.as_str(), e.kind.as_str()),
    }
}

pub(super) fn snapshot(name: &str) -> SnapshotName {
    must(SnapshotName::new(name))
}

/// Its snapshots; none where the driver takes none.
pub(super) async fn snapshots_of(driver: &dyn Driver, handle: &Handle) -> Vec<SnapshotState> {
    match driver.snapshots() {
        Some(snapshots) => must(snapshots.list_snapshots(handle).await),
        None => Vec::new(),
    }
}
