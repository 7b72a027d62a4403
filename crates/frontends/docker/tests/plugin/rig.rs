//! A node with a Docker plugin on it: the memory array, whose routes lead to real directories and images.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use docker::{Deadlines, DockerSettings, Plugin};
use driver::memory::{MemoryArray, MemoryDriver};
use driver::{CreateVolume, Driver, DriverError, DriverInfo, Outcome, Resize, Result, Snapshots, Staging};
use host::{Host, HostConfig};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes as Body;
use hyper_util::rt::TokioIo;
use model::{
    Bytes, Handle, InstanceId, LocalSource, NodeIdentity, NodeName, Permit, Pool, Route, VolumeId,
    VolumeState,
};
use orchestrator::{BackendFile, BackendOrigin, Families, Orchestrator, Settings};
use serde_json::{Value, json};
use store::{MemoryStore, Store};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::etcd::Etcd;

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// What outlives a process: the array, the store, the node's mounts.
pub(crate) struct Rig {
    pub(crate) array: Arc<MemoryArray>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) gate: Gate,
    /// How many milliseconds the array takes to say what is there.
    pub(crate) lag: Arc<AtomicU64>,
    directory: TempDir,
    /// Its name, where it shares the array with other hosts.
    host: Option<&'static str>,
    /// Where it shares the records, too.
    etcd: Option<Arc<Etcd>>,
}

/// One run of the program. Dropped, it dies as by `kill -9`, except that its socket goes too.
pub(crate) struct Process {
    pub(crate) orchestrator: Orchestrator,
    pub(crate) host: Host,
    pub(crate) socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
    runtime: Option<Runtime>,
}

/// Holds permits back while it is closed.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<watch::Sender<bool>>);

#[derive(Debug)]
struct TestDriver {
    array: Arc<MemoryDriver>,
    data: PathBuf,
    gate: Gate,
    lag: Arc<AtomicU64>,
}

struct TestFamilies {
    array: Arc<MemoryArray>,
    data: PathBuf,
    gate: Gate,
    lag: Arc<AtomicU64>,
    opens: bool,
}

impl Rig {
    pub(crate) fn new() -> Rig {
        // Shown with a test that fails.
        let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_test_writer().try_init();
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("data")).unwrap();
        Rig {
            array: MemoryArray::new(Bytes::gib(1000)),
            store: Arc::new(MemoryStore::new()),
            gate: Gate(Arc::new(watch::channel(true).0)),
            lag: Arc::default(),
            directory,
            host: None,
            etcd: None,
        }
    }

    /// A host, and another one with the same array but a store and a directory of its own.
    pub(crate) fn two() -> (Rig, Rig) {
        let mut first = Rig::new();
        first.host = Some("first");
        let data = first.path().join("data");
        let mut second = Rig::new();
        (second.host, second.array) = (Some("second"), first.array.clone());
        std::fs::remove_dir(second.path().join("data")).unwrap();
        std::os::unix::fs::symlink(data, second.path().join("data")).unwrap();
        (first, second)
    }

    /// The same, but with the records of both in one etcd.
    pub(crate) fn two_with_etcd() -> (Rig, Rig) {
        let (mut first, mut second) = Rig::two();
        let etcd = Arc::new(Etcd::start());
        (first.etcd, second.etcd) = (Some(etcd.clone()), Some(etcd));
        (first, second)
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) async fn start(&self) -> Process {
        self.start_with(true).await
    }

    /// Starts the program; with `opens` false, its backend never finishes to open.
    pub(crate) async fn start_with(&self, opens: bool) -> Process {
        let families = TestFamilies {
            array: self.array.clone(),
            data: self.path().join("data"),
            gate: self.gate.clone(),
            lag: self.lag.clone(),
            opens,
        };
        let (memory, etcd) = (self.store.clone(), self.etcd.clone());
        let (name, sharing) = (self.host.unwrap_or("here"), self.host.is_some() && self.etcd.is_none());
        let config = HostConfig {
            mounts_root: self.path().join("mounts"),
            limits: host::Limits::default(),
            paths: host::Paths::All,
        };
        let mut settings = DockerSettings::new(InstanceId::new("leister").unwrap());
        settings.plugin_dir = self.path().join("plugins");
        settings.deadlines = Deadlines { long: LIMIT, ..Deadlines::default() };
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let started = runtime.spawn(async move {
            let plugin = Plugin::claim(&settings).await.unwrap();
            let socket = plugin.socket().to_owned();
            let node = NodeIdentity::named(NodeName::new(name).unwrap());
            let instance = Settings { sharing, ..Settings::new(InstanceId::new("test").unwrap(), node) };
            let store: Arc<dyn Store> = match etcd {
                Some(etcd) => Arc::new(etcd.open().await),
                None => memory,
            };
            let orchestrator = Orchestrator::start(instance, store, Arc::new(families)).await.unwrap();
            orchestrator.register_node(orchestrator.settings().node.clone()).await.unwrap();
            let text = "version: 1\nstorageDriverName: memory\nbackendName: b\n";
            let file = BackendFile::parse(text, "b.yaml").unwrap();
            if opens {
                orchestrator.create_backend(file, BackendOrigin::Stored).await.unwrap();
            } else {
                orchestrator.add_backend(file, BackendOrigin::Stored);
            }
            let host = Host::open(config).await.unwrap();
            let (stop, stopped) = oneshot::channel::<()>();
            let mounts = Arc::new(node::Mounts::new(orchestrator.clone(), host.clone()));
            let serving = tokio::spawn(async move {
                let _upkeep = node::keep(&mounts);
                let stopped = async {
                    let _ = stopped.await;
                };
                plugin.serve(mounts, stopped).await.unwrap();
            });
            (orchestrator, host, socket, stop, serving)
        });
        let (orchestrator, host, socket, stop, serving) = started.await.unwrap();
        let (stop, serving) = (Some(stop), Some(serving));
        Process { orchestrator, host, socket, stop, serving, runtime: Some(runtime) }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
        let ours: Vec<PathBuf> = points.filter(|point| point.starts_with(self.path())).collect();
        for point in ours.iter().rev() {
            let _ = rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH);
        }
        let images = std::fs::read_dir(self.path().join("data")).into_iter().flatten().flatten();
        for image in images.filter(|entry| entry.path().extension().is_some_and(|e| e == "img")) {
            let listed = Command::new("losetup").arg("-nO").arg("NAME").arg("-j").arg(image.path()).output();
            for device in String::from_utf8_lossy(&listed.unwrap().stdout).lines() {
                let _ = Command::new("losetup").arg("-d").arg(device.trim()).status();
            }
        }
    }
}

impl Process {
    /// One call as the engine makes it; `Err` is what its user would see.
    pub(crate) async fn call(&self, call: &str, body: Value) -> Result<Value, String> {
        call_at(&self.socket, call, body.to_string()).await
    }

    pub(crate) async fn create(&self, name: &str, options: &[(&str, &str)]) -> Result<Value, String> {
        let options: serde_json::Map<String, Value> =
            options.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
        self.call("VolumeDriver.Create", json!({"Name": name, "Opts": options})).await
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Value, String> {
        Ok(self.call("VolumeDriver.Get", json!({"Name": name})).await?["Volume"].clone())
    }

    pub(crate) async fn remove(&self, name: &str) -> Result<Value, String> {
        self.call("VolumeDriver.Remove", json!({"Name": name})).await
    }

    pub(crate) async fn mount(&self, name: &str, id: &str) -> Result<PathBuf, String> {
        let answer = self.call("VolumeDriver.Mount", json!({"Name": name, "ID": id})).await?;
        Ok(answer["Mountpoint"].as_str().unwrap().into())
    }

    pub(crate) async fn unmount(&self, name: &str, id: &str) -> Result<(), String> {
        self.call("VolumeDriver.Unmount", json!({"Name": name, "ID": id})).await.map(drop)
    }

    pub(crate) async fn path(&self, name: &str) -> Result<String, String> {
        let answer = self.call("VolumeDriver.Path", json!({"Name": name})).await?;
        Ok(answer["Mountpoint"].as_str().unwrap().to_owned())
    }

    pub(crate) fn references(&self, name: &str) -> usize {
        self.host.references(&volume(name)).unwrap().len()
    }

    pub(crate) fn is_published(&self, name: &str) -> bool {
        self.orchestrator.catalogue().volume(&volume(name)).is_some_and(|r| !r.published.is_empty())
    }

    /// Asked to stop: serves no more when this returns.
    pub(crate) async fn stop(&mut self) {
        drop(self.stop.take());
        self.serving.take().unwrap().await.unwrap();
    }

    /// The process dies: nothing of it runs any more when this returns.
    pub(crate) async fn kill(mut self) {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(LIMIT)).await.unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn volume(name: &str) -> VolumeId {
    VolumeId::new(name).unwrap()
}

/// Waits for a condition, with a limit.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn call_at(socket: &Path, call: &str, body: String) -> Result<Value, String> {
    let (status, value) = exchange(socket, call, body).await;
    let message = value["Err"].as_str().unwrap_or_default().to_owned();
    assert_eq!(status == 200, message.is_empty(), "{status}: {value}");
    if message.is_empty() { Ok(value) } else { Err(message) }
}

pub(crate) async fn exchange(socket: &Path, call: &str, body: String) -> (u16, Value) {
    let mut sender = connect(socket).await;
    let reply = sender.send_request(request(call, body)).await.unwrap();
    assert_eq!(reply.headers()["content-type"], "application/vnd.docker.plugins.v1.1+json");
    let status = reply.status().as_u16();
    let bytes = reply.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

pub(crate) async fn connect(socket: &Path) -> hyper::client::conn::http1::SendRequest<Full<Body>> {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// As Docker's client writes it.
pub(crate) fn request(call: &str, body: String) -> Request<Full<Body>> {
    Request::post(format!("/{call}"))
        .header("host", "docker")
        .header("accept", "application/vnd.docker.plugins.v1.2+json")
        .body(Full::from(body))
        .unwrap()
}

impl Gate {
    pub(crate) fn close(&self) {
        self.0.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    async fn pass(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

impl TestDriver {
    async fn lag(&self) {
        tokio::time::sleep(Duration::from_millis(self.lag.load(Ordering::SeqCst))).await;
    }
}

#[async_trait]
impl Families for TestFamilies {
    async fn open(&self, file: &BackendFile) -> Result<Arc<dyn Driver>, DriverError> {
        if !self.opens {
            std::future::pending::<()>().await;
        }
        let instance = InstanceId::new("test").unwrap();
        let array = MemoryDriver::open(file.name().clone(), instance, self.array.clone());
        Ok(Arc::new(TestDriver {
            array,
            data: self.data.clone(),
            gate: self.gate.clone(),
            lag: self.lag.clone(),
        }))
    }
}

impl TestDriver {
    fn directory(&self, handle: &Handle) -> PathBuf {
        self.data.join(handle.as_str())
    }

    fn image(&self, handle: &Handle) -> PathBuf {
        self.data.join(format!("{handle}.img"))
    }

    fn size_image(&self, handle: &Handle, size: Bytes) {
        let file = std::fs::File::options().create(true).append(true).open(self.image(handle)).unwrap();
        file.set_len(size.get()).unwrap();
    }
}

#[async_trait]
impl Driver for TestDriver {
    fn info(&self) -> &DriverInfo {
        self.array.info()
    }

    fn handle(&self, volume: &VolumeId) -> Result<Handle> {
        self.array.handle(volume)
    }

    async fn pools(&self) -> Result<Vec<Pool>> {
        self.array.pools().await
    }

    async fn observe(&self, handle: &Handle) -> Result<Option<VolumeState>> {
        self.lag().await;
        self.array.observe(handle).await
    }

    async fn list(&self) -> Result<Vec<VolumeState>> {
        self.lag().await;
        self.array.list().await
    }

    async fn create(&self, request: &CreateVolume) -> Result<Outcome<VolumeState>> {
        self.array.create(request).await
    }

    async fn delete(&self, handle: &Handle) -> Result<Outcome<()>> {
        let gone = self.array.delete(handle).await?;
        let _ = std::fs::remove_dir_all(self.directory(handle));
        let _ = std::fs::remove_file(self.image(handle));
        Ok(gone)
    }

    async fn permit(&self, handle: &Handle, permit: &Permit) -> Result<Outcome<Route>> {
        self.gate.pass().await;
        let permitted = self.array.permit(handle, permit).await?;
        let size = self.array.observe(handle).await?.map(|state| state.size).unwrap_or_default();
        Ok(permitted.map(|route| match route {
            Route::Local { source: LocalSource::Directory { .. } } => {
                let path = self.directory(handle);
                std::fs::create_dir_all(&path).unwrap();
                Route::Local { source: LocalSource::Directory { path, snapshots: None } }
            }
            Route::Local { source: LocalSource::Image { .. } } => {
                self.size_image(handle, size);
                Route::Local { source: LocalSource::Image { path: self.image(handle) } }
            }
            other => other,
        }))
    }

    async fn forbid(&self, handle: &Handle, node: &NodeIdentity) -> Result<Outcome<()>> {
        self.array.forbid(handle, node).await
    }

    fn resize(&self) -> Option<&dyn Resize> {
        Some(self)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        self.array.snapshots()
    }

    fn staging(&self) -> Option<&dyn Staging> {
        self.array.staging()
    }
}

#[async_trait]
impl Resize for TestDriver {
    async fn grow(&self, handle: &Handle, size: Bytes) -> Result<Outcome<VolumeState>> {
        let grown = self.array.grow(handle, size).await?;
        if self.image(handle).exists() {
            self.size_image(handle, size);
        }
        Ok(grown)
    }
}
