//! The filer in its guest, and one test's tenant there.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use async_trait::async_trait;
use driver::config::BackendFile;
use driver::conformance::Fixture;
use driver::{CreateVolume, Driver};
use filer::{Authority, Tenant, TrustFiles};
use filer_suite::{Filer, FilerSpec};
use model::{
    AccessMode, Bytes, Handle, InstanceId, Labels, Layout, NodeIdentity, NodeName, Permit, Provisioning,
    Route, VolumeId, VolumeOptions, VolumeSpec,
};
use rig::{Guest, Rig, Size, Watch};
use tempfile::TempDir;
use tokio::sync::OwnedMutexGuard;

use crate::{forward, node};

/// What all tests share.
struct Stage {
    filer: Filer<'static>,
    node: &'static Guest,
    /// The filer, as this machine reaches it.
    address: SocketAddr,
    authority: Authority,
    _trust: TempDir,
}

static RIG: LazyLock<Rig> = LazyLock::new(|| {
    let rig = Rig::builder()
        .guest("storage", |g| g.memory(Size::mib(512)).disk(Size::gib(4)).disk(Size::mib(128)))
        .guest("node1", |g| g.memory(Size::mib(256)));
    rig.up().unwrap()
});

static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    let spec = FilerSpec { period: 600, ..FilerSpec::default() };
    let filer = Filer::up(&RIG, "storage", spec).unwrap();
    let node = RIG.guest("node1");
    node::prepare(node);
    let trust = TempDir::new().unwrap();
    for file in ["ca.crt", "ca.key"] {
        let content = filer.guest().read(&format!("/var/lib/leister/filer/trust/{file}")).unwrap();
        std::fs::write(trust.path().join(file), content).unwrap();
    }
    let authority = Authority::open(trust.path()).unwrap();
    let there = SocketAddr::new(filer.guest().address(0).into(), filer::PORT);
    Stage { filer, node, address: forward::forward(&RIG, there), authority, _trust: trust }
});

static TURN: LazyLock<Arc<tokio::sync::Mutex<()>>> = LazyLock::new(Arc::default);

/// A tenant of its own, whose volumes go with it.
pub(crate) struct Remote {
    layout: Layout,
    tenant: String,
    trust: TrustFiles,
    driver: Mutex<Option<Arc<dyn Driver>>>,
    _watch: Watch<'static>,
    _turn: OwnedMutexGuard<()>,
}

const OURS: &str = "ours";

impl Remote {
    pub(crate) async fn new(layout: Layout) -> Remote {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let turn = TURN.clone().lock_owned().await;
        let tenant = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let issued = STAGE.authority.issue(&Tenant::new(&tenant).unwrap(), 2).unwrap();
        let driver = Mutex::new(None);
        let remote = Remote { layout, tenant, trust: issued.files, driver, _watch: RIG.watch(), _turn: turn };
        remote.reopen().await;
        remote
    }

    async fn open(&self, instance: &str) -> Arc<dyn Driver> {
        let TrustFiles { certificate, key, ca } = &self.trust;
        let text = format!(
            "version: 1\nstorageDriverName: linux\nremote:\n  url: https://{}\n  certificate: {}\n  key: {}\n  ca: {}\n",
            STAGE.address,
            certificate.display(),
            key.display(),
            ca.display()
        );
        let file = BackendFile::parse(&text, "test.yaml").unwrap();
        let (instance, node) = (InstanceId::new(instance).unwrap(), NodeName::new("here").unwrap());
        linux::open(&file, instance, node).await.unwrap()
    }

    /// A volume of that name, as the storage host has it.
    fn inside(&self, name: &str) -> String {
        format!("{}.{name}", self.tenant)
    }

    async fn clear(&self) {
        for instance in [OURS, "somebody-else"] {
            let driver = self.open(instance).await;
            for state in driver.list().await.unwrap() {
                for node in &state.permitted {
                    driver.forbid(&state.handle, &NodeIdentity::named(node.clone())).await.unwrap();
                }
                driver.delete(&state.handle).await.unwrap();
            }
        }
        let strangers = format!(
            "for s in {}/{}.*; do [ ! -e $s ] || btrfs -q subvolume delete $s; done",
            STAGE.filer.pool(),
            self.tenant
        );
        STAGE.filer.exec(&strangers).ok("no stranger stays");
    }
}

#[async_trait]
impl Fixture for Remote {
    fn driver(&self) -> Arc<dyn Driver> {
        self.driver.lock().unwrap().clone().unwrap()
    }

    async fn reopen(&self) {
        let driver = self.open(OURS).await;
        *self.driver.lock().unwrap() = Some(driver);
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    fn nodes(&self) -> Vec<NodeIdentity> {
        node::identities(STAGE.node)
    }

    async fn write(&self, route: &Route, content: u64) {
        tokio::task::block_in_place(|| node::write(STAGE.node, route, content));
    }

    async fn read(&self, route: &Route) -> u64 {
        tokio::task::block_in_place(|| node::read(STAGE.node, route))
    }

    async fn plant(&self, name: &str, size: Bytes, owner: Option<&InstanceId>, content: u64) -> bool {
        let Some(owner) = owner else {
            // Strangers live at the pool's root as subvolumes, never where volumes are.
            if self.layout == Layout::Block || name.starts_with("leister_") {
                return false;
            }
            let path = format!("{}/{}", STAGE.filer.pool(), self.inside(name));
            let make =
                format!("btrfs -q subvolume create {path} && echo {content} >{path}/c && sync {path}/c");
            STAGE.filer.exec(&make).ok("a stranger");
            return true;
        };
        let theirs = self.open(owner.as_str()).await;
        let request = CreateVolume {
            handle: Handle::new(name).unwrap(),
            volume: VolumeId::new("theirs").unwrap(),
            pool: theirs.pools().await.unwrap()[0].name.clone(),
            spec: spec(self.layout, size),
        };
        theirs.create(&request).await.unwrap();
        let node = self.nodes().remove(0);
        let route = theirs.permit(&request.handle, &Permit::shared(node.clone())).await.unwrap().into_inner();
        self.write(&route, content).await;
        theirs.forbid(&request.handle, &node).await.unwrap();
        true
    }

    async fn planted(&self, name: &str) -> Option<u64> {
        let inside = self.inside(name);
        let look = format!(
            "cd {} || exit; if [ -e {inside}/c ]; then cat {inside}/c
            elif [ -e volumes/{inside}/data/c ]; then cat volumes/{inside}/data/c
            elif [ -e volumes/{inside}/data/disk.img ]; then head -c 512 volumes/{inside}/data/disk.img; fi",
            STAGE.filer.pool()
        );
        STAGE.filer.exec(&look).ok("what was planted").trim().parse().ok()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        drop(self.driver.get_mut().map(Option::take));
        if std::thread::panicking() {
            // Evidence is kept as it is; the next test has a tenant of its own.
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.clear());
    }
}

fn spec(layout: Layout, size: Bytes) -> VolumeSpec {
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
