//! A pool of its own for one test, taken down with it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use driver::config::BackendFile;
use driver::conformance::Fixture;
use driver::{CreateVolume, Driver, DriverError};
use model::{
    AccessMode, Bytes, Handle, InstanceId, Labels, Layout, LocalSource, NodeIdentity, NodeName, Permit,
    Provisioning, Route, VolumeId, VolumeOptions, VolumeSpec,
};
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use tempfile::TempDir;

pub(crate) struct Host {
    dir: TempDir,
    layout: Layout,
    ground: Ground,
    driver: Mutex<Option<Arc<dyn Driver>>>,
    /// On LVM: the devices of what was planted.
    planted: Mutex<BTreeMap<String, PathBuf>>,
}

/// What the pools of this run are on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ground {
    /// In a file on this machine.
    Btrfs,
    /// A disk of the guest, made anew for each.
    Xfs(String),
    /// The guest's thin pool, emptied for each.
    Lvm,
}

/// Set in a guest: the disk that is to be an XFS, or `vg0/thin`. Without it pools are on btrfs.
pub(crate) const GROUND: &str = "LINUX_POOL";
pub(crate) const THIN_POOL: &str = "vg0/thin";

const LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);
const NODE: &str = "this-host";
const RECORD: &str = "user.leister";

impl Host {
    pub(crate) async fn new(layout: Layout) -> Host {
        let host = Host {
            dir: TempDir::new().unwrap(),
            layout,
            ground: match std::env::var(GROUND) {
                Err(_) => Ground::Btrfs,
                Ok(pool) if pool == THIN_POOL => Ground::Lvm,
                Ok(disk) => Ground::Xfs(disk),
            },
            driver: Mutex::new(None),
            planted: Mutex::default(),
        };
        host.make_ground();
        host.reopen().await;
        host
    }

    pub(crate) fn pool(&self) -> PathBuf {
        self.dir.path().join("pool")
    }

    /// The backend's file, with more lines.
    pub(crate) fn file(&self, more: &str) -> BackendFile {
        let pool = self.pool();
        let pool = match self.ground {
            Ground::Btrfs => format!("pool: {}\npoolSize: 2Gi\n", pool.display()),
            Ground::Xfs(_) => format!("pool: {}\n", pool.display()),
            Ground::Lvm => format!("pool: {THIN_POOL}\novercommit: 10\n"),
        };
        let text = format!("version: 1\nstorageDriverName: linux\n{pool}{more}");
        BackendFile::parse(&text, "test.yaml").unwrap()
    }

    pub(crate) async fn open(&self, file: &BackendFile) -> Result<Arc<dyn Driver>, DriverError> {
        linux::open(file, InstanceId::new("ours").unwrap(), NodeName::new(NODE).unwrap()).await
    }

    /// Closes the driver; the pool stays mounted.
    pub(crate) fn close(&self) {
        drop(self.driver.lock().unwrap().take());
    }

    fn make_ground(&self) {
        match &self.ground {
            Ground::Btrfs => {}
            Ground::Xfs(disk) => {
                let pool = self.pool();
                fs::create_dir(&pool).unwrap();
                tool("mkfs.xfs", &["-q", "-f", disk]);
                rustix::mount::mount(disk.as_str(), &pool, "xfs", MountFlags::NOATIME, c"prjquota").unwrap();
            }
            Ground::Lvm => tool("lvm", &["lvremove", "-q", "-f", "-S", "lv_name=~^leister", "vg0"]),
        }
    }

    /// Another instance makes a volume on the thin pool, which only one at a time can have open.
    async fn plant_on_lvm(&self, name: &str, size: Bytes, owner: &InstanceId, content: u64) {
        self.close();
        let since = Instant::now();
        let pool = loop {
            match filer::Pool::open(&filer::PoolSpec::named(THIN_POOL, owner.as_str()).unwrap()) {
                Ok(pool) => break pool,
                Err(e) if since.elapsed() > LIMIT => panic!("{e}"),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        let layout = filer::Layout::Block;
        let wanted = filer::CreateVolume { layout, ..filer::CreateVolume::new(name, size) };
        let device = pool.create(&wanted).unwrap().into_state().served.path().to_owned();
        drop(pool);
        write_image(&device, content);
        self.planted.lock().unwrap().insert(name.to_owned(), device);
        self.reopen().await;
    }

    pub(crate) fn unmount(&self) {
        let since = Instant::now();
        loop {
            match rustix::mount::unmount(self.pool(), UnmountFlags::empty()) {
                Ok(()) | Err(Errno::INVAL | Errno::NOENT) => return,
                // A tool that another test starts holds our files between its fork and its exec.
                Err(Errno::BUSY) if since.elapsed() < LIMIT => std::thread::park_timeout(PAUSE),
                Err(e) if std::thread::panicking() => return eprintln!("the pool stays mounted: {e}"),
                Err(e) => panic!("the pool stays mounted: {e}"),
            }
        }
    }

    fn volume(&self, handle: &str) -> PathBuf {
        self.pool().join("volumes").join(handle)
    }

    /// Writes another owner into the record of a volume of ours.
    fn give_to(&self, handle: &str, owner: &InstanceId) {
        let mut text = Vec::with_capacity(16 << 10);
        let path = self.volume(handle);
        rustix::fs::getxattr(&path, RECORD, rustix::buffer::spare_capacity(&mut text)).unwrap();
        let mut record: serde_json::Value = serde_json::from_slice(&text).unwrap();
        record["owner"] = owner.as_str().into();
        let text = serde_json::to_vec(&record).unwrap();
        rustix::fs::setxattr(&path, RECORD, &text, XattrFlags::REPLACE).unwrap();
    }
}

#[async_trait]
impl Fixture for Host {
    fn driver(&self) -> Arc<dyn Driver> {
        self.driver.lock().unwrap().clone().unwrap()
    }

    async fn reopen(&self) {
        self.close();
        let (file, since) = (self.file(""), Instant::now());
        let driver = loop {
            match self.open(&file).await {
                Ok(driver) => break driver,
                // A tool that another test starts holds the pool's lock between its fork and its exec.
                Err(e) if e.kind == driver::ErrorKind::Conflict && since.elapsed() < LIMIT => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(e) => panic!("{e}: {e:?}"),
            }
        };
        *self.driver.lock().unwrap() = Some(driver);
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    fn nodes(&self) -> Vec<NodeIdentity> {
        vec![NodeIdentity::named(NodeName::new(NODE).unwrap())]
    }

    async fn write(&self, route: &Route, content: u64) {
        match source(route) {
            LocalSource::Directory { path, .. } => write_file(path, content),
            LocalSource::Image { path } => write_image(path, content),
        }
    }

    async fn read(&self, route: &Route) -> u64 {
        match source(route) {
            LocalSource::Directory { path, .. } => read_file(path),
            LocalSource::Image { path } => read_image(path),
        }
    }

    async fn plant(&self, name: &str, size: Bytes, owner: Option<&InstanceId>, content: u64) -> bool {
        let Some(owner) = owner else {
            // Strangers live at the pool's root as subvolumes, never where volumes are.
            let none = self.layout == Layout::Block || self.ground != Ground::Btrfs;
            if none || name.starts_with("leister_") {
                return false;
            }
            let path = self.pool().join(name);
            let made = Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(&path).status().unwrap();
            assert!(made.success(), "btrfs subvolume create: {made}");
            write_file(&path, content);
            return true;
        };
        if self.ground == Ground::Lvm {
            self.plant_on_lvm(name, size, owner, content).await;
            return true;
        }
        let driver = self.driver();
        let request = CreateVolume {
            handle: Handle::new(name).unwrap(),
            volume: VolumeId::new("theirs").unwrap(),
            pool: driver.pools().await.unwrap()[0].name.clone(),
            spec: spec(self.layout, size),
        };
        driver.create(&request).await.unwrap();
        let route = driver
            .permit(&request.handle, &Permit::shared(self.nodes()[0].clone()))
            .await
            .unwrap()
            .into_inner();
        self.write(&route, content).await;
        driver.forbid(&request.handle, &self.nodes()[0]).await.unwrap();
        self.give_to(name, owner);
        true
    }

    async fn planted(&self, name: &str) -> Option<u64> {
        if let Some(device) = self.planted.lock().unwrap().get(name) {
            return Some(read_image(device));
        }
        let (stranger, data) = (self.pool().join(name), self.volume(name).join("data"));
        if stranger.exists() {
            return Some(read_file(&stranger));
        }
        data.exists().then(|| match self.layout {
            Layout::File => read_file(&data),
            Layout::Block => read_image(&data.join("disk.img")),
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.driver.get_mut().map(Option::take));
        self.unmount();
    }
}

pub(crate) fn spec(layout: Layout, size: Bytes) -> VolumeSpec {
    VolumeSpec {
        size,
        layout,
        filesystem: None,
        provisioning: Provisioning::Thin,
        access: AccessMode::default(),
        class: None,
        source: None,
        options: VolumeOptions::new(),
        mount_options: Vec::new(),
        labels: Labels::new(),
    }
}

pub(crate) fn source(route: &Route) -> &LocalSource {
    let Route::Local { source } = route else { panic!("not on this machine: {route:?}") };
    source
}

fn write_file(dir: &Path, content: u64) {
    let path = dir.join("content");
    fs::write(&path, content.to_string()).unwrap();
    File::open(path).unwrap().sync_all().unwrap();
}

fn read_file(dir: &Path) -> u64 {
    match fs::read_to_string(dir.join("content")) {
        Ok(text) => text.parse().unwrap(),
        Err(e) if e.kind() == ErrorKind::NotFound => 0,
        Err(e) => panic!("{}: {e}", dir.display()),
    }
}

fn write_image(path: &Path, content: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&content.to_le_bytes(), 0).unwrap();
    file.sync_all().unwrap();
}

fn tool(program: &str, words: &[&str]) {
    let done = Command::new(program).args(words).output().unwrap();
    assert!(done.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn read_image(path: &Path) -> u64 {
    let mut content = [0; 8];
    File::open(path).unwrap().read_exact_at(&mut content, 0).unwrap();
    u64::from_le_bytes(content)
}
