//! What each operation costs in calls of the filer; the table is in `NOTES.md`.

use ::driver::{CloneVolume, Clones, ImportVolume};
use model::{AccessMode, Labels, SnapshotName, VolumeSpec};
use rustix::mount::UnmountFlags;
use tempfile::TempDir;

use super::*;

/// A driver on a pool of its own, taken down with it.
struct Host {
    dir: TempDir,
    driver: Option<LinuxDriver>,
}

impl Host {
    async fn new() -> Host {
        let dir = TempDir::new().unwrap();
        let pool = dir.path().join("pool");
        let text = format!("version: 1\nstorageDriverName: linux\npool: {}\npoolSize: 2Gi\n", pool.display());
        let file = BackendFile::parse(&text, "test.yaml").unwrap();
        let config = Config::read(&file).unwrap();
        let (instance, node) = (InstanceId::new("ours").unwrap(), NodeName::new("here").unwrap());
        let mut host = Host { dir, driver: None };
        host.driver = Some(LinuxDriver::open(file, config, instance, node).await.unwrap());
        host
    }

    fn driver(&self) -> &LinuxDriver {
        self.driver.as_ref().unwrap()
    }

    /// Calls of the filer that `operation` makes.
    async fn calls<T>(&self, operation: impl Future<Output = T>) -> u64 {
        let before = self.driver().array.calls();
        operation.await;
        self.driver().array.calls() - before
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.driver.take());
        let unmounted = rustix::mount::unmount(self.dir.path().join("pool"), UnmountFlags::empty());
        assert!(unmounted.is_ok() || std::thread::panicking(), "the pool stays mounted: {unmounted:?}");
    }
}

fn request(driver: &LinuxDriver, name: &str) -> CreateVolume {
    let volume = VolumeId::new(name).unwrap();
    CreateVolume {
        handle: driver.handle(&volume).unwrap(),
        volume,
        pool: driver.pools[0].clone(),
        spec: VolumeSpec {
            size: Bytes::mib(16),
            layout: Layout::File,
            filesystem: None,
            provisioning: Provisioning::Thin,
            access: AccessMode::default(),
            class: None,
            source: None,
            options: VolumeOptions::new(),
            mount_options: Vec::new(),
            labels: Labels::new(),
        },
    }
}

#[tokio::test]
async fn each_operation_costs_as_many_calls_as_the_notes_say() {
    let host = Host::new().await;
    let driver = host.driver();
    let (volume, mut larger) = (request(driver, "v"), request(driver, "v"));
    larger.spec.size = Bytes::mib(32);
    let (mut full, mut other) = (request(driver, "full"), request(driver, "v"));
    full.spec.size = Bytes::gib(4096);
    other.volume = VolumeId::new("other").unwrap();
    let (handle, node) = (volume.handle.clone(), NodeIdentity::named(driver.node.clone()));
    let stranger = NodeIdentity::named(NodeName::new("there").unwrap());
    let snapshot = SnapshotName::new("s").unwrap();
    let clone = CloneVolume { create: request(driver, "w"), source: handle.clone(), snapshot: None };
    let import = ImportVolume {
        original: "absent".to_owned(),
        handle: driver.handle(&VolumeId::new("i").unwrap()).unwrap(),
        volume: VolumeId::new("i").unwrap(),
        spec: volume.spec.clone(),
    };

    assert_eq!(host.calls(driver.pools()).await, 1, "pools");
    assert_eq!(host.calls(driver.create(&volume)).await, 1, "create");
    assert_eq!(host.calls(driver.create(&volume)).await, 1, "create again");
    assert_eq!(host.calls(driver.create(&larger)).await, 2, "create again, another size");
    assert_eq!(host.calls(driver.create(&other)).await, 2, "create, conflict");
    assert_eq!(host.calls(driver.create(&full)).await, 2, "create, no capacity");
    assert_eq!(host.calls(driver.observe(&handle)).await, 1, "observe");
    assert_eq!(host.calls(driver.list()).await, 1, "list");
    assert_eq!(host.calls(driver.permit(&handle, &Permit::exclusive(node.clone()))).await, 1, "permit");
    assert_eq!(
        host.calls(driver.permit(&handle, &Permit::exclusive(stranger))).await,
        0,
        "permit, other node"
    );
    assert_eq!(host.calls(driver.forbid(&handle, &node)).await, 1, "forbid");
    assert_eq!(host.calls(driver.grow(&handle, Bytes::mib(32))).await, 1, "grow");
    assert_eq!(host.calls(driver.grow(&handle, Bytes::mib(16))).await, 2, "grow, larger already");
    assert_eq!(host.calls(driver.grow(&handle, Bytes::gib(4096))).await, 2, "grow, no capacity");
    assert_eq!(host.calls(driver.take(&handle, &snapshot)).await, 1, "take");
    assert_eq!(host.calls(driver.list_snapshots(&handle)).await, 1, "list snapshots");
    assert_eq!(host.calls(driver.restore(&handle, &snapshot)).await, 1, "restore");
    assert_eq!(host.calls(driver.clone_volume(&clone)).await, 1, "clone");
    assert_eq!(host.calls(driver.delete_snapshot(&handle, &snapshot)).await, 1, "delete snapshot");
    assert_eq!(host.calls(driver.delete(&handle)).await, 1, "delete");
    assert_eq!(host.calls(Import::find(driver, "absent")).await, 2, "find");
    assert_eq!(host.calls(Import::import(driver, &import)).await, 4, "import of what is absent");
    let stranger = host.dir.path().join("pool/stranger");
    let made = std::process::Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(stranger).status();
    assert!(made.unwrap().success());
    let import = ImportVolume { original: "stranger".to_owned(), ..import };
    assert_eq!(host.calls(Import::import(driver, &import)).await, 3, "import");
    assert_eq!(host.calls(Import::import(driver, &import)).await, 1, "import again");
}
