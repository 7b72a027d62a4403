use std::path::PathBuf;
use std::sync::Arc;

use api::{Client, ClientError, ErrorBody};
use async_trait::async_trait;
use driver::memory::{MemoryArray, MemoryDriver};
use driver::{Driver, DriverError, ErrorKind};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use model::{Bytes as Size, Class, InstanceId, NodeIdentity, NodeName};
use orchestrator::{BackendFile, BackendOrigin, Families, Orchestrator, Settings};
use rest::{RestSettings, Server};
use store::MemoryStore;
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;

pub(crate) const CLASS: &str = "gold";

/// A server on a socket and a port of its own.
pub(crate) struct Rig {
    pub(crate) client: Client,
    pub(crate) array: Arc<MemoryArray>,
    socket: PathBuf,
    port: u16,
    _stop: oneshot::Sender<()>,
    _directory: TempDir,
}

struct Memory(Arc<MemoryArray>, InstanceId);

#[async_trait]
impl Families for Memory {
    async fn open(&self, file: &BackendFile) -> Result<Arc<dyn Driver>, DriverError> {
        if file.driver_name() != "memory" {
            return Err(DriverError::new(ErrorKind::Invalid, "open backend", "unknown driver"));
        }
        Ok(MemoryDriver::open(file.name().clone(), self.1.clone(), self.0.clone()))
    }
}

impl Rig {
    pub(crate) async fn start() -> Rig {
        let instance = InstanceId::new("test").unwrap();
        let array = MemoryArray::new(Size::gib(1000));
        let node = NodeIdentity::named(NodeName::new("here").unwrap());
        let families = Arc::new(Memory(array.clone(), instance.clone()));
        let orchestrator =
            Orchestrator::start(Settings::new(instance, node), Arc::new(MemoryStore::new()), families)
                .await
                .unwrap();
        let file =
            BackendFile::parse("version: 1\nstorageDriverName: memory\nbackendName: mem\n", "test").unwrap();
        orchestrator.create_backend(file, BackendOrigin::Stored).await.unwrap();
        let class: Class =
            serde_json::from_str(r#"{"name":"gold","parameters":{"snapshots":"true"}}"#).unwrap();
        orchestrator.create_class(class).await.unwrap();

        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("rest.sock");
        let settings = RestSettings {
            socket: Some(socket.clone()),
            address: Some("127.0.0.1:0".parse().unwrap()),
            open_to_all: false,
        };
        let server = Server::claim(&settings).await.unwrap();
        let port = server.address().unwrap().port();
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(server.serve(orchestrator, async move {
            let _ = stopped.await;
        }));
        let client = Client::new(&format!("unix://{}", socket.display())).unwrap();
        Rig { client, array, socket, port, _stop: stop, _directory: directory }
    }

    /// One request as it stands on the wire.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        body: Option<&str>,
    ) -> (u16, HeaderMap, String) {
        self.send_as("application/json", method, target, body).await
    }

    pub(crate) async fn send_as(
        &self,
        kind: &str,
        method: &str,
        target: &str,
        body: Option<&str>,
    ) -> (u16, HeaderMap, String) {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "localhost")
            .header("content-type", kind)
            .body(Full::new(Bytes::copy_from_slice(body.unwrap_or_default().as_bytes())))
            .unwrap();
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, headers, String::from_utf8(body.into()).unwrap())
    }

    /// The status of `GET /healthz` with these headers, over TCP.
    pub(crate) async fn at_port(&self, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().uri("/healthz");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = request.body(Full::<Bytes>::default()).unwrap();
        sender.send_request(request).await.unwrap().status().as_u16()
    }
}

pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ErrorBody {
    match result {
        Err(ClientError::Refused { body, .. }) => body,
        other => panic!("not refused: {other:?}"),
    }
}
