//! The public surface: reads that never wait, and work that outlives its caller.

mod admin;
mod declared;
mod inspect;
mod leading;
mod room;
mod settings;
mod sharing;
mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::{BackendName, OperationId, VolumeId, VolumeState};
use store::Store;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::backend::{Backend, BackendHealth, BackendOrigin, BackendView, Families, Registry, Standing};
use crate::catalogue::Catalogue;
use crate::doctor::Inspect;
use crate::leadership::{self, Answers, Ask, Leadership};
use crate::locks::Locks;
use crate::metrics::{Metrics, StorageClassOf};
use crate::operation::{OperationView, Verb};
use crate::request::{Answer, ImportRequest, Request};
use crate::running::{Entered, Running, Ticket};
use crate::writer::Writer;
use crate::{Error, ErrorKind, Result, tasks};
pub use room::Room;
pub use settings::{Limits, Periods, Settings};
pub use sharing::Elsewhere;

/// The orchestrator. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Orchestrator {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) writer: Writer,
    pub(crate) backends: Registry,
    pub(crate) families: Arc<dyn Families>,
    pub(crate) locks: Locks,
    pub(crate) running: Running,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stopping: CancellationToken,
    storage_class_of: Mutex<Arc<StorageClassOf>>,
    pub(crate) inspectors: arc_swap::ArcSwap<Vec<Arc<dyn Inspect>>>,
    pub(crate) retries: tasks::Retries,
    pub(crate) strays: tasks::Strays,
    pub(crate) tagged: sharing::Tagged,
    /// A backend answers that did not before: compare it with the records now.
    pub(crate) opened: Arc<tokio::sync::Notify>,
    /// Backends that stand in files, or in objects of a cluster; opened by who leads.
    pub(crate) files: Mutex<BTreeMap<BackendName, Standing>>,
    pub(crate) answers: Arc<Answers>,
    /// Nothing is done here any more; `stopping` comes before.
    pub(crate) ended: CancellationToken,
}

/// Between tries while the one who leads says that it is busy with the volume.
const AGAIN: Duration = Duration::from_millis(300);
/// How long a user waits for the reconciler to let go of a volume.
const MENDING: Duration = Duration::from_secs(20);

impl Orchestrator {
    /// Takes the store over and reads it. Backends open, and what was left unfinished goes on, in the background.
    ///
    /// # Behavior
    /// Of instances that share a store only one leads and does that; the others follow: they show the records, and have
    /// the one who leads do what is asked of them, until they lead themselves.
    ///
    /// # Errors
    /// The store is held by somebody else and cannot be shared, or cannot be read.
    pub async fn start(
        settings: Settings,
        store: Arc<dyn Store>,
        families: Arc<dyn Families>,
    ) -> Result<Orchestrator> {
        let holder = match store.post() {
            Some(_) => leadership::holder(&settings.node.name),
            None => settings.instance.to_string(),
        };
        let writer = Writer::open(store, holder, settings.leads).await?;
        let inner = Arc::new(Inner {
            settings,
            writer,
            backends: Registry::default(),
            families,
            locks: Locks::new(),
            running: Running::new(),
            metrics: Arc::new(Metrics::new()),
            stopping: CancellationToken::new(),
            storage_class_of: Mutex::new(Arc::new(|_| None)),
            inspectors: arc_swap::ArcSwap::default(),
            retries: tasks::Retries::default(),
            strays: tasks::Strays::default(),
            tagged: sharing::Tagged::default(),
            opened: Arc::default(),
            files: Mutex::default(),
            answers: Arc::default(),
            ended: CancellationToken::new(),
        });
        let orchestrator = Orchestrator { inner };
        if orchestrator.inner.writer.leads() {
            if orchestrator.inner.settings.is_node {
                orchestrator.register_node_here(orchestrator.inner.settings.node.clone()).await?;
            }
            orchestrator.open_backends();
        }
        leadership::start(&orchestrator);
        tasks::start(&orchestrator);
        Ok(orchestrator)
    }

    /// Takes no more work, waits for what runs (bounded), and gives the lease up.
    pub async fn stop(&self) {
        self.inner.stopping.cancel();
        if tokio::time::timeout(Duration::from_secs(30), self.inner.running.all_idle()).await.is_err() {
            tracing::warn!(
                running = self.inner.running.count(),
                "stopping with operations under way; they go on at the next start"
            );
        }
        self.inner.answers.settled().await;
        self.inner.writer.release().await;
        self.inner.ended.cancel();
    }

    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// All records as they are now.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.inner.writer.catalogue()
    }

    /// # Errors
    /// Another instance leads and does not say.
    pub async fn backends(&self) -> Result<Vec<BackendView>> {
        self.led(Ask::Backends, || async { Ok(self.backends_here()) }).await
    }

    pub(crate) fn backends_here(&self) -> Vec<BackendView> {
        let mut counts = std::collections::BTreeMap::<BackendName, usize>::new();
        for record in self.catalogue().volumes() {
            *counts.entry(record.backend.clone()).or_default() += 1;
        }
        let count = |name: &BackendName| counts.get(name).copied().unwrap_or(0);
        self.inner.backends.all().values().map(|backend| backend.view(count(&backend.name))).collect()
    }

    pub async fn backend(&self, name: &BackendName) -> Result<Option<BackendView>> {
        if self.inner.writer.leads() {
            return Ok(self.backend_here(name));
        }
        Ok(self.backends().await?.into_iter().find(|backend| backend.name == *name))
    }

    pub(crate) fn backend_here(&self, name: &BackendName) -> Option<BackendView> {
        let volumes = || self.catalogue().volumes().filter(|record| record.backend == *name).count();
        self.inner.backends.find(name).map(|backend| backend.view(volumes()))
    }

    /// Running ones first, then the latest ended.
    pub fn operations(&self) -> Vec<OperationView> {
        self.inner.running.views()
    }

    pub fn operation(&self, id: OperationId) -> Option<OperationView> {
        self.inner.running.view(id)
    }

    /// In the OpenMetrics text format.
    pub fn metrics(&self) -> String {
        let class_of = self.inner.storage_class_of.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.inner.metrics.render(
            &self.catalogue(),
            &self.inner.backends,
            &*class_of,
            self.inner.writer.leads(),
        )
    }

    /// Who knows of volumes by which StorageClass Kubernetes has them, which metrics tell. The last one is asked.
    pub fn ask_storage_classes_of(&self, who: Arc<StorageClassOf>) {
        *self.inner.storage_class_of.lock().unwrap_or_else(PoisonError::into_inner) = who;
    }

    /// # Errors
    /// Says what is not ready yet.
    pub fn is_ready(&self) -> Result<(), String> {
        if self.inner.stopping.is_cancelled() {
            return Err("stopping".to_owned());
        }
        if !self.inner.writer.leads() {
            if !self.inner.writer.is_shared() {
                return Err("another instance has become the writer of the store".to_owned());
            }
            return match self.leadership() {
                Leadership { trouble: Some(trouble), .. } => {
                    Err(format!("{trouble}; what is shown may be old, and nothing can be changed"))
                }
                Leadership { leader: None, .. } => Err("no instance leads yet".to_owned()),
                Leadership { .. } => Ok(()),
            };
        }
        let all = self.inner.backends.all();
        let opening: Vec<&str> = all
            .values()
            .filter(|backend| matches!(*backend.health(), BackendHealth::Opening))
            .map(|backend| backend.name.as_str())
            .collect();
        if opening.is_empty() { Ok(()) } else { Err(format!("opening backends: {}", opening.join(", "))) }
    }

    /// Starts the work, or joins it if the same is under way. The work goes on when the ticket is dropped.
    ///
    /// # Errors
    /// `Busy` when something else is done with the volume, `Unreachable` when stopping.
    pub fn submit(&self, request: Request) -> Result<Ticket> {
        if self.inner.stopping.is_cancelled() {
            return Err(Error::new(ErrorKind::Unreachable, "this instance is stopping"));
        }
        match self.inner.running.enter(request)? {
            Entered::Joined(ticket) => Ok(ticket),
            Entered::Started(operation, ticket) => {
                let span = tracing::info_span!(
                    "operation",
                    id = %operation.id,
                    verb = %operation.request.verb(),
                    volume = %operation.request.volume()
                );
                let inner = self.inner.clone();
                tokio::spawn(async move { inner.work(operation).await }.instrument(span));
                Ok(ticket)
            }
        }
    }

    /// Submits what a user asks for: what mends the volume, which nobody asked for, may end first.
    ///
    /// # Errors
    /// Those of `submit`, after the limit or 20 s also because of the mending.
    pub async fn ask(&self, request: Request, limit: Duration) -> Result<Ticket> {
        let mended = self.inner.running.mended(request.volume());
        let _ = tokio::time::timeout(limit.min(MENDING), mended).await;
        self.submit(request)
    }

    /// Asks and waits.
    pub async fn run(&self, request: Request) -> Result<Answer> {
        self.ask(request, MENDING).await?.wait().await
    }

    /// The same, but while something else is done with the volume waits for its end and tries again.
    ///
    /// # Errors
    /// What the work ended with; `Busy` or `Unreachable` when the limit is over (the work goes on).
    pub async fn run_patiently(&self, request: Request, limit: Duration) -> Result<Answer> {
        let started = Instant::now();
        loop {
            let left = limit.saturating_sub(started.elapsed());
            let attempt = async {
                match self.submit(request.clone()) {
                    Ok(ticket) => match ticket.wait().await {
                        // Where it is done something else is done with the volume: nobody tells when that ends.
                        Err(error) if error.kind == ErrorKind::Busy && !self.inner.writer.leads() => {
                            tokio::time::sleep(AGAIN).await;
                            None
                        }
                        ended => Some(ended),
                    },
                    Err(error) if error.kind == ErrorKind::Busy => {
                        self.inner.running.idle(request.volume()).await;
                        None
                    }
                    Err(error) => Some(Err(error)),
                }
            };
            match tokio::time::timeout(left, attempt).await {
                Ok(Some(result)) => return result,
                Ok(None) => {}
                Err(_) => {
                    let message = format!(
                        "{} of volume `{}` has not ended within {} s",
                        request.verb(),
                        request.volume(),
                        limit.as_secs()
                    );
                    return Err(Error::new(ErrorKind::Busy, message).hint("it goes on; ask again later"));
                }
            }
        }
    }

    /// The volume as its backend has it now.
    pub async fn observe(&self, id: &VolumeId) -> Result<Option<VolumeState>> {
        self.led(Ask::Observe(id.clone()), || self.observe_here(id)).await
    }

    pub(crate) async fn observe_here(&self, id: &VolumeId) -> Result<Option<VolumeState>> {
        let record = self.inner.volume(id)?;
        self.inner.look(&record).await
    }

    /// What an import would take over; changes nothing.
    pub async fn preview_import(&self, request: &ImportRequest) -> Result<VolumeState> {
        self.led(Ask::PreviewImport(request.clone()), || self.inner.importable(request)).await
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    pub(crate) fn of(inner: Arc<Inner>) -> Orchestrator {
        Orchestrator { inner }
    }
}

impl Inner {
    /// How long an operation waits for a backend that is being opened.
    pub(crate) fn patience(&self, verb: Verb) -> Duration {
        match verb {
            Verb::Publish | Verb::Fence | Verb::Reconcile => self.settings.periods.opening_for_mount,
            _ => self.settings.periods.opening,
        }
    }

    pub(crate) fn new_backend(
        &self,
        file: driver::config::BackendFile,
        origin: BackendOrigin,
    ) -> Arc<Backend> {
        let metrics = self.metrics.clone();
        let opened = self.opened.clone();
        Arc::new(Backend::new(file, origin, &self.settings.limits, &self.settings.periods, metrics, opened))
    }
}
