//! The array in memory as a fixture.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use driver::Driver;
use driver::conformance::Fixture;
use driver::memory::{MemoryArray, MemoryDriver};
use model::{BackendName, Bytes, Handle, InstanceId, Layout, LocalSource, NodeIdentity, NodeName, Route};

/// `wrap` stands between the suite and the driver.
pub(crate) struct Memory {
    array: Arc<MemoryArray>,
    driver: Mutex<Arc<MemoryDriver>>,
    wrap: fn(Arc<MemoryDriver>) -> Arc<dyn Driver>,
}

impl Memory {
    pub(crate) fn new() -> Memory {
        Memory::wrapped(|driver| driver)
    }

    pub(crate) fn wrapped(wrap: fn(Arc<MemoryDriver>) -> Arc<dyn Driver>) -> Memory {
        let array = MemoryArray::new(Bytes::gib(4));
        Memory { driver: Mutex::new(Memory::open(&array)), array, wrap }
    }

    fn open(array: &Arc<MemoryArray>) -> Arc<MemoryDriver> {
        let (backend, instance) = (BackendName::new("gold").unwrap(), InstanceId::new("ours").unwrap());
        MemoryDriver::open(backend, instance, array.clone())
    }
}

#[async_trait]
impl Fixture for Memory {
    fn driver(&self) -> Arc<dyn Driver> {
        (self.wrap)(self.driver.lock().unwrap().clone())
    }

    async fn reopen(&self) {
        *self.driver.lock().unwrap() = Memory::open(&self.array);
    }

    fn layout(&self) -> Layout {
        Layout::File
    }

    fn nodes(&self) -> Vec<NodeIdentity> {
        ["one", "two"].map(|name| NodeIdentity::named(NodeName::new(name).unwrap())).into()
    }

    async fn write(&self, route: &Route, content: u64) {
        self.array.write(&handle(route), content);
    }

    async fn read(&self, route: &Route) -> u64 {
        self.array.read(&handle(route)).unwrap()
    }

    async fn plant(&self, name: &str, size: Bytes, owner: Option<&InstanceId>, content: u64) -> bool {
        self.array.plant(&Handle::new(name).unwrap(), size, owner.cloned(), content);
        true
    }

    async fn planted(&self, name: &str) -> Option<u64> {
        self.array.read(&Handle::new(name).unwrap())
    }
}

fn handle(route: &Route) -> Handle {
    let Route::Local { source: LocalSource::Directory { path, .. } } = route else { panic!("{route:?}") };
    Handle::new(path.file_name().unwrap().to_str().unwrap()).unwrap()
}
