//! A filer with a pool and an authority of its own, taken down with the test.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Once;
use std::time::{Duration, Instant};

use filer::{
    Authority, Client, CreateVolume, Image, Layout, PoolSpec, Service, ServiceSpec, Tenant, TrustFiles,
};
use model::Bytes;
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) struct Rig {
    pub(crate) dir: TempDir,
    pub(crate) authority: Authority,
    server: TrustFiles,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>, SocketAddr)>,
}

const LIMIT: Duration = Duration::from_secs(60);
static LOG: Once = Once::new();

impl Rig {
    pub(crate) async fn new() -> Rig {
        LOG.call_once(|| {
            let _ = tracing_subscriber::fmt().with_env_filter("info").with_test_writer().try_init();
        });
        let dir = TempDir::new().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let (authority, server) = Authority::init(dir.path().join("trust"), &names, 30).unwrap();
        let mut rig = Rig { dir, authority, server: server.files, running: None };
        rig.start().await;
        rig
    }

    pub(crate) fn pool(&self) -> PathBuf {
        self.dir.path().join("pool")
    }

    pub(crate) fn spec(&self) -> ServiceSpec {
        let image = Image { path: self.dir.path().join("pool.img"), size: Bytes::gib(1), preallocate: false };
        ServiceSpec {
            pool: PoolSpec::in_image(self.pool(), image, "nobody"),
            make: true,
            listen: "127.0.0.1:0".parse().unwrap(),
            trust: self.server.clone(),
            portals: Vec::new(),
            wires: Vec::new(),
            state: self.dir.path().join("state"),
            period: Duration::from_secs(1),
        }
    }

    /// Starts it, on a port of its own or on the one it had.
    pub(crate) async fn start(&mut self) {
        self.start_with(self.server.clone()).await;
    }

    pub(crate) async fn start_with(&mut self, trust: TrustFiles) {
        let since = Instant::now();
        let service = loop {
            match Service::start(ServiceSpec { trust: trust.clone(), ..self.spec() }).await {
                Ok(service) => break service,
                // A tool that another test starts holds the pool's lock between its fork and its exec.
                Err(e) if e.kind() == filer::ErrorKind::Conflict && since.elapsed() < LIMIT => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(e) => panic!("{e}"),
            }
        };
        let address = service.address().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(service.run(async {
            let _ = stopped.await;
        }));
        self.running = Some((stop, task, address));
    }

    pub(crate) async fn stop(&mut self) {
        let (stop, task, _) = self.running.take().unwrap();
        let _ = stop.send(());
        task.await.unwrap();
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.as_ref().unwrap().2
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address().port())
    }

    pub(crate) fn pair(&self, tenant: &str) -> TrustFiles {
        self.authority.issue(&Tenant::new(tenant).unwrap(), 30).unwrap().files
    }

    /// A client of this tenant, once the filer is ready for it.
    pub(crate) async fn client(&self, tenant: &str, instance: &str) -> Client {
        let client = Client::new(&self.url(), instance, &self.pair(tenant)).unwrap();
        let since = Instant::now();
        loop {
            match client.delete("nothing").await {
                Ok(_) => return client,
                Err(e) if e.kind() == filer::ErrorKind::Unreachable && since.elapsed() < LIMIT => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(e) => panic!("{e}"),
            }
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some((_, task, _)) = self.running.take() {
            task.abort();
        }
        let since = Instant::now();
        loop {
            match rustix::mount::unmount(self.pool(), UnmountFlags::empty()) {
                Ok(()) | Err(Errno::INVAL | Errno::NOENT) => return,
                // What a failed test has left running holds it: the kernel takes it down when that ends.
                Err(Errno::BUSY) if std::thread::panicking() => {
                    let _ = rustix::mount::unmount(self.pool(), UnmountFlags::DETACH);
                }
                Err(Errno::BUSY) if since.elapsed() < LIMIT => {
                    std::thread::park_timeout(Duration::from_millis(10));
                }
                Err(e) => return eprintln!("the pool stays mounted: {e}"),
            }
        }
    }
}

pub(crate) fn volume(handle: &str) -> CreateVolume {
    let mut wanted = CreateVolume::new(handle, Bytes::mib(16));
    wanted.layout = Layout::File;
    wanted.labels.insert(filer::WIRE_LABEL.to_owned(), "nfs".to_owned());
    wanted
}
