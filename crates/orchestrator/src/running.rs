//! Operations in flight: one a volume. The same request joins, a different one is told who is busy.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use model::{BackendName, OperationId, VolumeId};
use tokio::sync::watch;

use crate::operation::{OperationState, OperationView, Verb};
use crate::request::{Answer, Request};
use crate::{Error, ErrorKind, Result};

/// A place among those who wait for an operation. Dropping it ends the waiting, not the work.
#[derive(Debug)]
pub struct Ticket {
    pub operation: OperationId,
    /// Somebody had asked for the same already.
    pub joined: bool,
    progress: watch::Receiver<Progress>,
}

#[derive(Debug)]
pub(crate) struct Running {
    shards: Vec<Mutex<HashMap<VolumeId, Arc<Operation>>>>,
    hasher: RandomState,
    ended: Mutex<VecDeque<Arc<Operation>>>,
    last: AtomicU64,
}

/// One operation.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) id: OperationId,
    pub(crate) request: Request,
    pub(crate) started: Timestamp,
    progress: watch::Sender<Progress>,
    backend: Mutex<Option<BackendName>>,
    ended: Mutex<Option<Timestamp>>,
    joined: AtomicU64,
}

#[derive(Clone, Debug)]
enum Progress {
    Running(&'static str),
    Ended(Result<Answer>),
}

pub(crate) enum Entered {
    /// The caller must do the work, then [`Running::leave`].
    Started(Arc<Operation>, Ticket),
    Joined(Ticket),
}

const SHARDS: usize = 64;
/// Ended operations that can still be looked at.
const REMEMBERED: usize = 1000;

impl Running {
    pub(crate) fn new() -> Running {
        Running {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            ended: Mutex::default(),
            last: AtomicU64::new(0),
        }
    }

    /// # Errors
    /// `Busy` names the operation that runs on this volume.
    pub(crate) fn enter(&self, request: Request) -> Result<Entered> {
        let mut shard = self.shard(request.volume());
        if let Some(running) = shard.get(request.volume()) {
            if running.request == request {
                running.joined.fetch_add(1, Ordering::Relaxed);
                return Ok(Entered::Joined(running.ticket(true)));
            }
            let verb = running.request.verb();
            let message =
                format!("volume `{}` is busy: {verb} ({}) is running", request.volume(), running.id);
            return Err(Error::new(ErrorKind::Busy, message)
                .hint("try again when it has ended")
                .retry(driver::Retry::Later));
        }
        let operation = Arc::new(Operation {
            id: OperationId(self.last.fetch_add(1, Ordering::Relaxed) + 1),
            started: Timestamp::now(),
            progress: watch::channel(Progress::Running("waiting")).0,
            backend: Mutex::default(),
            ended: Mutex::default(),
            joined: AtomicU64::new(1),
            request,
        });
        shard.insert(operation.request.volume().clone(), operation.clone());
        let ticket = operation.ticket(false);
        Ok(Entered::Started(operation, ticket))
    }

    pub(crate) fn leave(&self, operation: &Arc<Operation>, result: Result<Answer>) {
        *locked(&operation.ended) = Some(Timestamp::now());
        self.shard(operation.request.volume()).remove(operation.request.volume());
        // Who only looks leaves nothing to be looked at.
        if operation.request.verb() != Verb::Find {
            let mut ended = locked(&self.ended);
            if ended.len() == REMEMBERED {
                ended.pop_front();
            }
            ended.push_back(operation.clone());
        }
        operation.progress.send_replace(Progress::Ended(result));
    }

    pub(crate) fn is_running(&self, volume: &VolumeId) -> bool {
        self.shard(volume).contains_key(volume)
    }

    /// Returns when nothing runs on the volume.
    pub(crate) async fn idle(&self, volume: &VolumeId) {
        let running = self.shard(volume).get(volume).cloned();
        if let Some(running) = running {
            let _ = running.ticket(true).wait().await;
        }
    }

    /// Returns when the reconciler does nothing with the volume.
    pub(crate) async fn mended(&self, volume: &VolumeId) {
        let running = self.shard(volume).get(volume).cloned();
        if let Some(running) = running.filter(|running| running.request.verb() == Verb::Reconcile) {
            let _ = running.ticket(true).wait().await;
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.shards.iter().map(|shard| locked(shard).len()).sum()
    }

    /// Returns when nothing runs at all.
    pub(crate) async fn all_idle(&self) {
        loop {
            let some = self.shards.iter().find_map(|shard| locked(shard).values().next().cloned());
            match some {
                Some(operation) => {
                    let _ = operation.ticket(true).wait().await;
                }
                None => return,
            }
        }
    }

    /// Running ones first, then the latest ended.
    pub(crate) fn views(&self) -> Vec<OperationView> {
        let mut views: Vec<OperationView> = Vec::new();
        for shard in &self.shards {
            views.extend(locked(shard).values().map(|operation| operation.view()));
        }
        views.sort_by_key(|view| view.id);
        views.extend(locked(&self.ended).iter().rev().map(|operation| operation.view()));
        views
    }

    pub(crate) fn view(&self, id: OperationId) -> Option<OperationView> {
        let running = self.shards.iter().find_map(|shard| {
            locked(shard).values().find(|operation| operation.id == id).map(|operation| operation.view())
        });
        running.or_else(|| locked(&self.ended).iter().find(|o| o.id == id).map(|o| o.view()))
    }

    fn shard(&self, volume: &VolumeId) -> MutexGuard<'_, HashMap<VolumeId, Arc<Operation>>> {
        #[allow(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let shard = self.hasher.hash_one(volume) as usize % SHARDS;
        locked(&self.shards[shard])
    }
}

impl Operation {
    /// Says what it does now.
    pub(crate) fn stage(&self, stage: &'static str) {
        self.progress.send_replace(Progress::Running(stage));
    }

    pub(crate) fn on(&self, backend: &BackendName) {
        *locked(&self.backend) = Some(backend.clone());
    }

    pub(crate) fn backend(&self) -> Option<BackendName> {
        locked(&self.backend).clone()
    }

    fn ticket(&self, joined: bool) -> Ticket {
        Ticket { operation: self.id, joined, progress: self.progress.subscribe() }
    }

    fn view(&self) -> OperationView {
        let state = match &*self.progress.borrow() {
            Progress::Running(stage) => OperationState::Running { stage },
            Progress::Ended(Ok(_)) => OperationState::Done,
            Progress::Ended(Err(error)) => OperationState::Failed(error.clone()),
        };
        OperationView {
            id: self.id,
            verb: self.request.verb(),
            volume: self.request.volume().clone(),
            snapshot: self.request.snapshot().cloned(),
            backend: self.backend(),
            state,
            started: self.started,
            ended: *locked(&self.ended),
            joined: self.joined.load(Ordering::Relaxed),
        }
    }
}

impl Ticket {
    /// Waits for the end.
    pub async fn wait(mut self) -> Result<Answer> {
        let ended = self.progress.wait_for(|progress| matches!(progress, Progress::Ended(_))).await;
        match ended.as_deref() {
            Ok(Progress::Ended(result)) => result.clone(),
            _ => Err(Error::new(ErrorKind::Internal, "the operation was given up")),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
