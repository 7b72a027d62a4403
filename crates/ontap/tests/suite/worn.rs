//! The conformance suite on an array that loses replies, breaks connections and has too much to do, driven as the
//! orchestrator does: what gives no answer is asked again, and whoever was interrupted is a new process afterwards.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use driver::conformance::Fixture;
use driver::{
    CloneVolume, Clones, CreateVolume, Driver, DriverInfo, ErrorKind, Import, ImportVolume, Modify,
    ModifyVolume, Outcome, Resize, Result, Snapshots, Staging,
};
use model::{
    Bytes, Handle, InstanceId, Layout, NodeIdentity, Permit, Pool, Route, SnapshotName, SnapshotState,
    VolumeId, VolumeOption, VolumeOptions, VolumeState,
};
use serde_json::{Value, json};
use sim_ontap::{Body, Effect};

use crate::array::Array;

/// A worn array, and who is patient with it.
pub(crate) struct Worn {
    array: Arc<Array>,
    driver: Arc<Patient>,
}

/// A driver whose callers ask again.
#[derive(Debug)]
struct Patient {
    array: Arc<Array>,
    info: DriverInfo,
    now: Mutex<Arc<dyn Driver>>,
    interrupted: AtomicBool,
}

/// One operation under way: when it is dropped, its process has died.
struct Running<'a> {
    interrupted: &'a AtomicBool,
    before: Value,
    is_repeated: bool,
    is_over: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.interrupted.store(true, Ordering::SeqCst);
        }
    }
}

/// More faults than a proof meets.
const FAULTS: usize = 120;
/// More tries than any operation needs.
const TRIES: usize = 40;

impl Worn {
    pub(crate) async fn new(driver: &str, rest: &str) -> Worn {
        let array = Arc::new(Array::new(driver, rest).await);
        let now = array.driver();
        let (info, now) = (now.info().clone(), Mutex::new(now));
        let driver =
            Arc::new(Patient { array: array.clone(), info, now, interrupted: AtomicBool::new(false) });
        let faults = array.sim.faults();
        let busy = || Effect::Answer {
            status: 503,
            body: Body::Json(json!({"error": {"message": "too much to do"}})),
            headers: Vec::new(),
        };
        for n in 1..=FAULTS {
            faults.nth("POST *", n * 5, Effect::ApplyAndDrop);
            faults.nth("PATCH *", n * 3, Effect::ApplyAndDrop);
            faults.nth("DELETE *", n * 4, Effect::ApplyAndTruncate);
            faults.nth("POST *", n * 13, Effect::Drop);
            faults.nth("GET *", n * 101, Effect::Drop);
            faults.nth("*", n * 149, busy());
        }
        Worn { array, driver }
    }
}

/// Asks until there is an answer.
macro_rules! patiently {
    ($self:ident, $driver:ident => $call:expr) => {{
        let mut running = $self.begin().await;
        let mut tries = 0;
        let answer = loop {
            let $driver = $self.now();
            match $call.await {
                Err(error) if error.kind == ErrorKind::Unreachable && tries < TRIES => {
                    tries += 1;
                    running.is_repeated = true;
                    $self.restart().await;
                }
                answer => break answer,
            }
        };
        (running, answer)
    }};
}

impl Patient {
    fn now(&self) -> Arc<dyn Driver> {
        self.now.lock().unwrap().clone()
    }

    async fn restart(&self) {
        for _ in 0..TRIES {
            match self.array.open_again().await {
                Ok(driver) => {
                    *self.now.lock().unwrap() = driver;
                    return;
                }
                Err(error) => assert_eq!(error.kind, ErrorKind::Unreachable, "{error}"),
            }
        }
        panic!("the array never answers");
    }

    async fn begin(&self) -> Running<'_> {
        if self.interrupted.swap(false, Ordering::SeqCst) {
            self.restart().await;
        }
        Running { interrupted: &self.interrupted, before: self.objects(), is_repeated: false, is_over: false }
    }

    /// What the array has, without its diary.
    fn objects(&self) -> Value {
        let mut objects = self.array.sim.state().dump();
        let tables = objects.as_object_mut().unwrap();
        for diary in ["jobs", "_tasks", "_job_order", "_serial", "ems_events"] {
            tables.remove(diary);
        }
        objects
    }

    /// A try whose reply was lost did the work: then the whole has changed something.
    fn outcome<T>(&self, (mut running, answer): (Running<'_>, Result<Outcome<T>>)) -> Result<Outcome<T>> {
        let has_changed = running.is_repeated && running.before != self.objects();
        running.is_over = true;
        match answer {
            Ok(Outcome::Unchanged(value)) if has_changed => Ok(Outcome::Changed(value)),
            answer => answer,
        }
    }

    fn answer<T>(&self, (mut running, answer): (Running<'_>, Result<T>)) -> Result<T> {
        running.is_over = true;
        answer
    }
}

#[async_trait]
impl Fixture for Worn {
    fn driver(&self) -> Arc<dyn Driver> {
        self.driver.clone()
    }

    async fn reopen(&self) {
        self.driver.restart().await;
    }

    fn layout(&self) -> Layout {
        self.array.layout()
    }

    fn changes(&self) -> VolumeOptions {
        self.array.changes()
    }

    fn nodes(&self) -> Vec<NodeIdentity> {
        self.array.nodes()
    }

    async fn write(&self, route: &Route, content: u64) {
        self.array.write(route, content).await;
    }

    async fn read(&self, route: &Route) -> u64 {
        self.array.read(route).await
    }

    async fn plant(&self, name: &str, size: Bytes, owner: Option<&InstanceId>, content: u64) -> bool {
        self.array.plant(name, size, owner, content).await
    }

    async fn planted(&self, name: &str) -> Option<u64> {
        self.array.planted(name).await
    }
}

#[async_trait]
impl Driver for Patient {
    fn info(&self) -> &DriverInfo {
        &self.info
    }

    fn handle(&self, volume: &VolumeId) -> Result<Handle> {
        self.now().handle(volume)
    }

    async fn pools(&self) -> Result<Vec<Pool>> {
        self.answer(patiently!(self, driver => driver.pools()))
    }

    async fn observe(&self, handle: &Handle) -> Result<Option<VolumeState>> {
        self.answer(patiently!(self, driver => driver.observe(handle)))
    }

    async fn list(&self) -> Result<Vec<VolumeState>> {
        self.answer(patiently!(self, driver => driver.list()))
    }

    async fn create(&self, request: &CreateVolume) -> Result<Outcome<VolumeState>> {
        self.outcome(patiently!(self, driver => driver.create(request)))
    }

    async fn delete(&self, handle: &Handle) -> Result<Outcome<()>> {
        self.outcome(patiently!(self, driver => driver.delete(handle)))
    }

    async fn permit(&self, handle: &Handle, permit: &Permit) -> Result<Outcome<Route>> {
        self.outcome(patiently!(self, driver => driver.permit(handle, permit)))
    }

    async fn forbid(&self, handle: &Handle, node: &NodeIdentity) -> Result<Outcome<()>> {
        self.outcome(patiently!(self, driver => driver.forbid(handle, node)))
    }

    fn resize(&self) -> Option<&dyn Resize> {
        self.now().resize().is_some().then_some(self)
    }

    fn modify(&self) -> Option<&dyn Modify> {
        self.now().modify().is_some().then_some(self)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        self.now().snapshots().is_some().then_some(self)
    }

    fn import(&self) -> Option<&dyn Import> {
        self.now().import().is_some().then_some(self)
    }

    fn staging(&self) -> Option<&dyn Staging> {
        self.now().staging().is_some().then_some(self)
    }
}

#[async_trait]
impl Staging for Patient {
    async fn mark_staged(&self, handle: &Handle) -> Result<Outcome<()>> {
        self.outcome(patiently!(self, driver => driver.staging().unwrap().mark_staged(handle)))
    }
}

#[async_trait]
impl Resize for Patient {
    async fn grow(&self, handle: &Handle, size: Bytes) -> Result<Outcome<VolumeState>> {
        self.outcome(patiently!(self, driver => driver.resize().unwrap().grow(handle, size)))
    }
}

#[async_trait]
impl Modify for Patient {
    fn modifiable(&self) -> BTreeSet<VolumeOption> {
        self.now().modify().unwrap().modifiable()
    }

    async fn modify_volume(&self, request: &ModifyVolume) -> Result<Outcome<VolumeState>> {
        self.outcome(patiently!(self, driver => driver.modify().unwrap().modify_volume(request)))
    }
}

#[async_trait]
impl Snapshots for Patient {
    async fn take(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<SnapshotState>> {
        self.outcome(patiently!(self, driver => driver.snapshots().unwrap().take(handle, snapshot)))
    }

    async fn delete_snapshot(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<()>> {
        self.outcome(
            patiently!(self, driver => driver.snapshots().unwrap().delete_snapshot(handle, snapshot)),
        )
    }

    async fn list_snapshots(&self, handle: &Handle) -> Result<Vec<SnapshotState>> {
        self.answer(patiently!(self, driver => driver.snapshots().unwrap().list_snapshots(handle)))
    }

    async fn restore(&self, handle: &Handle, snapshot: &SnapshotName) -> Result<Outcome<VolumeState>> {
        self.outcome(patiently!(self, driver => driver.snapshots().unwrap().restore(handle, snapshot)))
    }

    fn keeps_newer(&self) -> bool {
        self.now().snapshots().unwrap().keeps_newer()
    }

    fn clones(&self) -> Option<&dyn Clones> {
        self.now().snapshots().and_then(|snapshots| snapshots.clones()).is_some().then_some(self)
    }
}

#[async_trait]
impl Clones for Patient {
    async fn clone_volume(&self, request: &CloneVolume) -> Result<Outcome<VolumeState>> {
        self.outcome(patiently!(self, driver => {
            driver.snapshots().and_then(|snapshots| snapshots.clones()).unwrap().clone_volume(request)
        }))
    }
}

#[async_trait]
impl Import for Patient {
    async fn find(&self, original: &str) -> Result<Option<VolumeState>> {
        self.answer(patiently!(self, driver => driver.import().unwrap().find(original)))
    }

    async fn import(&self, request: &ImportVolume) -> Result<Outcome<VolumeState>> {
        self.outcome(patiently!(self, driver => driver.import().unwrap().import(request)))
    }
}
