//! An array and a store that outlive the orchestrators that are started over them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use driver::config::BackendFile;
use driver::memory::{Faults, MemoryArray, MemoryDriver};
use driver::{Driver, DriverError};
use futures::stream::BoxStream;
use model::{
    BackendName, Bytes, Handle, InstanceId, NodeIdentity, NodeName, SnapshotName, Source, VolumeId,
    VolumeOption, VolumeOptions,
};
use orchestrator::{
    BackendOrigin, CreateRequest, Error, Families, Orchestrator, Request, Settings, VolumeStatus,
};
use store::{Change, Entry, Fence, Key, Kind, Lease, MemoryStore, Revision, Store, StoreError, Write};

pub struct House {
    pub array: Arc<MemoryArray>,
    pub store: Arc<MortalStore>,
}

/// A store whose process can die before and after each write.
#[derive(Debug)]
pub struct MortalStore {
    inner: MemoryStore,
    faults: Arc<Faults>,
}

struct Family(Arc<MemoryArray>);

pub const INSTANCE: &str = "house";
/// Longer than anything takes in virtual time.
const LIMIT: Duration = Duration::from_secs(3600);

impl House {
    pub fn new() -> House {
        House::of(Bytes::gib(1000))
    }

    pub fn of(size: Bytes) -> House {
        let array = MemoryArray::new(size);
        let store = Arc::new(MortalStore { inner: MemoryStore::new(), faults: array.faults.clone() });
        House { array, store }
    }

    /// The same array, seen by another host with a store of its own.
    pub fn beside(&self) -> House {
        let store = Arc::new(MortalStore { inner: MemoryStore::new(), faults: self.array.faults.clone() });
        House { array: self.array.clone(), store }
    }

    /// A new process of a host that shares the array with others, and no store.
    pub async fn open_sharing(&self, name: &str) -> Orchestrator {
        let settings =
            Settings { sharing: true, ..Settings::new(instance(), NodeIdentity::named(node(name))) };
        let families = Arc::new(Family(self.array.clone()));
        let orchestrator = Orchestrator::start(settings, self.store.clone(), families).await.unwrap();
        self.add_backend(&orchestrator).await;
        orchestrator
    }

    pub fn faults(&self) -> &Faults {
        &self.array.faults
    }

    /// A new process over the same array and store.
    pub async fn open(&self) -> Orchestrator {
        let orchestrator = self.open_without_backend().await;
        self.add_backend(&orchestrator).await;
        orchestrator
    }

    pub async fn open_without_backend(&self) -> Orchestrator {
        self.faults().revive();
        let families = Arc::new(Family(self.array.clone()));
        let orchestrator = Orchestrator::start(settings(), self.store.clone(), families).await.unwrap();
        for name in ["n1", "n2"] {
            orchestrator.register_node(NodeIdentity::named(node(name))).await.unwrap();
        }
        orchestrator
    }

    pub async fn add_backend(&self, orchestrator: &Orchestrator) {
        let file = BackendFile::parse(CONFIG, "test").unwrap();
        orchestrator.add_backend(file, BackendOrigin::File("test.yaml".into()));
        until("the backend is open", || orchestrator.is_ready().is_ok()).await;
    }

    /// Every volume of ours has its record, every record its volume, and both say the same.
    pub fn check(&self, orchestrator: &Orchestrator) {
        let catalogue = orchestrator.catalogue();
        let mut recorded = BTreeSet::new();
        for record in catalogue.volumes() {
            assert_eq!(record.status(), VolumeStatus::Ready, "{record:?}");
            assert!(self.array.read(&record.handle).is_some(), "`{}` has no volume", record.id);
            let published: BTreeSet<NodeName> = record.published.keys().cloned().collect();
            assert_eq!(self.array.permits(&record.handle), published, "permits of `{}`", record.id);
            let snapshots: Vec<SnapshotName> =
                catalogue.snapshots_of(&record.id).map(|s| s.name.clone()).collect();
            assert_eq!(self.array.snapshots(&record.handle), snapshots, "snapshots of `{}`", record.id);
            assert_eq!(self.array.size(&record.handle), Some(record.spec.size), "size of `{}`", record.id);
            recorded.insert(record.handle.clone());
        }
        for snapshot in catalogue.snapshots() {
            assert!(catalogue.volume(&snapshot.volume).is_some(), "{snapshot:?} has no volume");
        }
        let there: BTreeSet<Handle> = self.array.handles_of(INSTANCE).into_iter().collect();
        assert_eq!(there, recorded, "volumes on the array against records");
    }
}

#[async_trait]
impl Families for Family {
    async fn open(&self, file: &BackendFile) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(MemoryDriver::open(file.name().clone(), instance(), self.0.clone()))
    }
}

#[async_trait]
impl Store for MortalStore {
    async fn acquire(&self, holder: &str) -> Result<Lease, StoreError> {
        self.inner.expire_lease();
        self.inner.acquire(holder).await
    }

    async fn renew(&self, lease: &Lease) -> Result<(), StoreError> {
        self.inner.renew(lease).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.inner.release(lease).await
    }

    async fn list(&self, kind: Kind) -> Result<Vec<Entry>, StoreError> {
        self.inner.list(kind).await
    }

    async fn find(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.inner.find(key).await
    }

    async fn commit(&self, fence: Fence, writes: Vec<Write>) -> Result<Revision, StoreError> {
        self.faults.point().await;
        let revision = self.inner.commit(fence, writes).await;
        self.faults.point().await;
        revision
    }

    async fn commit_ordered(&self, fence: Fence, writes: Vec<Write>) -> Result<Revision, StoreError> {
        self.commit(fence, writes).await
    }

    async fn watch(&self, kind: Kind) -> Result<BoxStream<'static, Change>, StoreError> {
        self.inner.watch(kind).await
    }
}

pub const CONFIG: &str = "version: 1\nstorageDriverName: memory\nbackendName: array\n";

pub fn settings() -> Settings {
    Settings::new(instance(), NodeIdentity::named(node("n1")))
}

pub fn instance() -> InstanceId {
    InstanceId::new(INSTANCE).unwrap()
}

pub fn backend() -> BackendName {
    BackendName::new("array").unwrap()
}

pub fn id(name: &str) -> VolumeId {
    VolumeId::new(name).unwrap()
}

pub fn handle(name: &str) -> Handle {
    Handle::new(name).unwrap()
}

pub fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

pub fn snap(name: &str) -> SnapshotName {
    SnapshotName::new(name).unwrap()
}

pub fn create(name: &str, size: Bytes) -> Request {
    Request::Create(Box::new(CreateRequest { size: Some(size), ..CreateRequest::named(id(name)) }))
}

pub fn clone(name: &str, of: &str, snapshot: Option<&str>) -> Request {
    let source = Some(Source { volume: id(of), snapshot: snapshot.map(snap) });
    Request::Create(Box::new(CreateRequest { source, ..CreateRequest::named(id(name)) }))
}

pub fn delete(name: &str) -> Request {
    Request::Delete { volume: id(name), with_snapshots: true }
}

pub fn publish(name: &str, to: &str) -> Request {
    Request::Publish { volume: id(name), node: node(to), read_only: false, force: false, kept: false }
}

pub fn unpublish(name: &str, from: &str) -> Request {
    Request::Unpublish { volume: id(name), node: node(from) }
}

pub fn take(name: &str, snapshot: &str) -> Request {
    Request::Take { volume: id(name), snapshot: snap(snapshot) }
}

pub fn take_group(names: &[&str], snapshot: &str) -> Request {
    Request::take_group(names.iter().map(|name| id(name)).collect(), snap(snapshot)).unwrap()
}

pub fn delete_group(names: &[&str], snapshot: &str) -> Request {
    Request::delete_group(names.iter().map(|name| id(name)).collect(), snap(snapshot)).unwrap()
}

pub fn restore(name: &str, snapshot: &str) -> Request {
    Request::Restore { volume: id(name), snapshot: snap(snapshot) }
}

pub fn grow(name: &str, size: Bytes) -> Request {
    Request::Grow { volume: id(name), size }
}

/// Changes the one option that the array knows.
pub fn modify(name: &str, mode: &str) -> Request {
    let changes = VolumeOptions::from([(VolumeOption::UnixPermissions, mode.to_owned())]);
    Request::Modify { volume: id(name), changes }
}

pub async fn run(orchestrator: &Orchestrator, request: Request) -> Result<(), Error> {
    orchestrator.run_patiently(request, LIMIT).await.map(|_| ())
}

/// Nothing runs and nothing is left to do.
pub async fn settled(orchestrator: &Orchestrator) {
    let idle = || {
        let unfinished = orchestrator.catalogue().volumes().any(|record| {
            !matches!(record.status(), VolumeStatus::Ready | VolumeStatus::Missing)
                || record.growing.is_some()
                || !record.changing.is_empty()
                || record.published.values().any(|p| p.goal == orchestrator::Goal::Gone)
        });
        let snapshots =
            orchestrator.catalogue().snapshots().any(|s| s.status() != orchestrator::SnapshotStatus::Ready);
        let running = orchestrator
            .operations()
            .iter()
            .any(|operation| matches!(operation.state, orchestrator::OperationState::Running { .. }));
        !unfinished && !snapshots && !running
    };
    until("everything is finished", idle).await;
    // Permits are compared once a drift period.
    tokio::time::sleep(Duration::from_secs(65)).await;
    until("everything is finished", idle).await;
}

/// Waits in virtual time.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A runtime whose clock jumps when nobody has anything to do.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(work)
}
