//! How many calls a backend gets at once. Each kind of work has its own queue, so that none starves another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use crate::operation::Verb;
use crate::orchestrator::Limits;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Queue {
    Create,
    Publish,
    Delete,
    Read,
}

#[derive(Debug)]
pub(crate) struct Admission {
    lanes: [Lane; 4],
}

#[derive(Debug)]
struct Lane {
    permits: Semaphore,
    waiting: Arc<AtomicUsize>,
}

/// Counts a waiter for as long as it lives.
struct Waiting(Arc<AtomicUsize>);

impl Queue {
    pub(crate) const ALL: [Queue; 4] = [Queue::Create, Queue::Publish, Queue::Delete, Queue::Read];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Queue::Create => "create",
            Queue::Publish => "publish",
            Queue::Delete => "delete",
            Queue::Read => "read",
        }
    }

    pub(crate) const fn of(verb: Verb) -> Queue {
        match verb {
            Verb::Create
            | Verb::Clone
            | Verb::Import
            | Verb::Adopt
            | Verb::Grow
            | Verb::Modify
            | Verb::Take
            | Verb::TakeGroup
            | Verb::Restore => Queue::Create,
            Verb::Publish | Verb::Unpublish | Verb::Fence | Verb::MarkStaged => Queue::Publish,
            Verb::Find => Queue::Read,
            Verb::Delete | Verb::DeleteSnapshot | Verb::DeleteGroup | Verb::Forget | Verb::Reconcile => {
                Queue::Delete
            }
        }
    }
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Admission {
        let lane = |permits| Lane { permits: Semaphore::new(permits), waiting: Arc::default() };
        Admission {
            lanes: [lane(limits.create), lane(limits.publish), lane(limits.delete), lane(limits.read)],
        }
    }

    /// Runs a call when its turn has come.
    pub(crate) async fn run<T>(&self, queue: Queue, call: impl Future<Output = T>) -> T {
        let lane = &self.lanes[queue as usize];
        let waiting = Waiting::start(&lane.waiting);
        // The semaphore is never closed, so there is always a permit to come.
        let _permit = lane.permits.acquire().await.ok();
        drop(waiting);
        call.await
    }

    pub(crate) fn depth(&self, queue: Queue) -> usize {
        self.lanes[queue as usize].waiting.load(Ordering::Relaxed)
    }
}

impl Waiting {
    fn start(count: &Arc<AtomicUsize>) -> Waiting {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
