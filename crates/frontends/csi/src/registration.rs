//! The plugin makes itself known to this node's kubelet: a socket in its registry, and two calls. No registrar beside
//! the plugin is needed.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::CsiError;
use crate::plugin::connections;
use crate::wire::pluginregistration::registration_server as server;
use crate::wire::pluginregistration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
};

/// Where a kubelet looks, in its directory.
const REGISTRY: &str = "plugins_registry";
/// What the name of an entry begins with. A kubelet says the whole path as the authority of its calls, each `/` as
/// `%2F`. Before an `@` that is right, elsewhere it is none, and our side of HTTP/2 refuses it.
const PREFIX: &str = "leister@";
/// Between looks whether the socket is still there, and after a first refusal; then twice as long each time.
const PAUSE: Duration = Duration::from_secs(1);
const MOST_DOUBLINGS: u32 = 6;
/// A kubelet that runs asks within a second, and one that starts within a few.
const ASKED_WITHIN: Duration = Duration::from_secs(30);

/// A place in a kubelet's registry. It is answered from [`keep`](Registration::keep) on.
#[derive(Debug)]
pub(crate) struct Registration {
    told: Told,
    entry: Entry,
}

/// Removes the entry when dropped.
#[derive(Debug)]
pub(crate) struct Registered(JoinHandle<()>);

/// What a kubelet asks for.
#[derive(Clone, Debug)]
struct Told {
    name: String,
    endpoint: PathBuf,
    is_asked: Arc<AtomicBool>,
    /// How often in a row a kubelet has refused it.
    refusals: watch::Sender<u32>,
}

/// Our socket in the registry; removed when dropped.
#[derive(Debug)]
struct Entry {
    path: PathBuf,
    /// None once it was left: another file may get the number.
    inode: Option<(u64, u64)>,
    listener: Option<UnixListener>,
}

impl Registration {
    /// # Errors
    /// `Named` when another process serves a plugin of that name.
    pub(crate) async fn claim(kubelet: &Path, name: &str, endpoint: &Path) -> Result<Registration, CsiError> {
        let path = kubelet.join(REGISTRY).join(format!("{PREFIX}{name}.sock"));
        if UnixStream::connect(&path).await.is_ok() {
            return Err(CsiError::Named { name: name.to_owned(), entry: path });
        }
        let entry = Entry::place(&path)?;
        let told = Told {
            name: name.to_owned(),
            endpoint: endpoint.to_owned(),
            is_asked: Arc::default(),
            refusals: watch::Sender::default(),
        };
        Ok(Registration { told, entry })
    }

    /// Answers the kubelet until the result is dropped.
    ///
    /// # Behavior
    /// A kubelet that starts again finds the entry by itself. An entry that somebody removed is made anew, and then the
    /// kubelet registers the plugin again. One that could not register it, as when its own node is not known yet, does not
    /// try again by itself: the entry is made anew then, too, after a pause.
    pub(crate) fn keep(mut self) -> Registered {
        Registered(tokio::spawn(async move {
            loop {
                self.serve().await;
                self.entry.leave();
                let path = self.entry.path.clone();
                self.entry = replace(&path).await;
            }
        }))
    }

    /// Until the entry is gone, or has to be made anew.
    async fn serve(&mut self) {
        let Some(listener) = self.entry.listener.take() else { return };
        let serving = Server::builder()
            .add_service(server::RegistrationServer::new(self.told.clone()))
            .serve_with_incoming(connections(listener));
        tokio::select! {
            ended = serving => tracing::warn!(?ended, "the kubelet's calls are not answered any more"),
            () = self.entry.lost() => {
                let entry = self.entry.path.display();
                tracing::warn!(socket = %entry, "the entry in the kubelet's registry is gone; making it anew");
            }
            () = self.told.refused() => {}
            never = self.told.watch(&self.entry.path) => match never {},
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Entry {
    /// # Behavior
    /// It appears when it is complete: a kubelet asks at once, and passes over names that begin with a dot.
    fn place(path: &Path) -> Result<Entry, CsiError> {
        let failed = |doing: &str, path: &Path| {
            let doing = format!("{doing} {}", path.display());
            move |source| CsiError::Registration { doing, source }
        };
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(failed("make the directory", folder))?;
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let fresh = folder.join(format!(".{file_name}"));
        remove(&fresh).map_err(failed("remove", &fresh))?;
        let listener = UnixListener::bind(&fresh).map_err(failed("listen on", &fresh))?;
        fs::set_permissions(&fresh, Permissions::from_mode(0o600))
            .map_err(failed("set the mode of", &fresh))?;
        let inode = inode(&fresh).map_err(failed("look at", &fresh))?;
        fs::rename(&fresh, path).map_err(failed("put in place", path))?;
        Ok(Entry { path: path.to_owned(), inode: Some(inode), listener: Some(listener) })
    }

    fn is_there(&self) -> bool {
        self.inode.is_some_and(|own| inode(&self.path).is_ok_and(|inode| inode == own))
    }

    async fn lost(&self) {
        while self.is_there() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Removes it: the kubelet then knows that the plugin has ended.
    fn leave(&mut self) {
        if self.is_there() {
            let _ = remove(&self.path);
        }
        self.inode = None;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.leave();
    }
}

#[tonic::async_trait]
impl server::Registration for Told {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        self.is_asked.store(true, Ordering::Relaxed);
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: self.name.clone(),
            endpoint: self.endpoint.display().to_string(),
            // Of the protocol, of which a kubelet looks at the first number.
            supported_versions: vec!["1.0.0".to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        status: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = status.into_inner();
        if status.plugin_registered {
            tracing::info!(name = self.name, "the kubelet has registered the CSI plugin");
            self.refusals.send_replace(0);
        } else {
            tracing::warn!(
                name = self.name,
                problem = status.error,
                "the kubelet did not register the CSI plugin; it is asked again soon"
            );
            self.refusals.send_modify(|refusals| *refusals += 1);
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

impl Told {
    /// Ends a pause after a kubelet has refused the plugin: long enough for it to have our answer.
    async fn refused(&self) {
        let mut refusals = self.refusals.subscribe();
        while refusals.changed().await.is_ok() {
            let doublings = refusals.borrow().saturating_sub(1).min(MOST_DOUBLINGS);
            tokio::time::sleep(PAUSE * 2_u32.pow(doublings)).await;
            if *refusals.borrow() > 0 {
                return;
            }
        }
    }

    /// Tells when no kubelet asks: nothing else would say that it looks elsewhere.
    async fn watch(&self, entry: &Path) -> Infallible {
        tokio::time::sleep(ASKED_WITHIN).await;
        if !self.is_asked.load(Ordering::Relaxed) {
            tracing::warn!(
                name = self.name,
                entry = %entry.display(),
                "no kubelet has asked for the CSI plugin, so no pod here gets a volume of it: is --kubelet-dir the kubelet's \
                 --root-dir?"
            );
        }
        std::future::pending().await
    }
}

/// A new entry in the place of one that is gone, as soon as that is possible.
async fn replace(path: &Path) -> Entry {
    let mut is_told = false;
    loop {
        match Entry::place(path) {
            Ok(entry) => return entry,
            Err(error) if !is_told => {
                tracing::warn!(error = &error as &dyn std::error::Error, "it cannot be made yet");
                is_told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}
