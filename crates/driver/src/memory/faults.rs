use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::{DriverError, ErrorKind};

/// The calls that can be counted and failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    Pools,
    Observe,
    List,
    Create,
    Delete,
    Permit,
    Forbid,
    Grow,
    Modify,
    Take,
    TakeGroup,
    DeleteGroup,
    DeleteSnapshot,
    ListSnapshots,
    Restore,
    Clone,
    Find,
    Import,
    MarkStaged,
}

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refused before anything happened.
    Refuse(ErrorKind),
    /// Done, but the answer is lost: the caller sees `Unreachable`.
    LoseReply,
    /// Never answers, before doing anything.
    Hang,
}

/// Faults to come and calls counted, shared by a test and the array.
#[derive(Debug, Default)]
pub struct Faults {
    planned: Mutex<BTreeMap<(Call, u64), Fault>>,
    always: Mutex<BTreeMap<Call, Fault>>,
    counts: Mutex<BTreeMap<Call, u64>>,
    /// Points at which a process could die: before and after each effect.
    points: AtomicU64,
    dies_at: AtomicU64,
    death: Notify,
}

impl Faults {
    pub fn new() -> Arc<Faults> {
        Arc::new(Faults { dies_at: AtomicU64::new(u64::MAX), ..Faults::default() })
    }

    /// The `nth` call of this kind from now on (the first is 1) suffers `fault`.
    pub fn plan(&self, call: Call, nth: u64, fault: Fault) {
        let count = self.count(call);
        lock(&self.planned).insert((call, count + nth), fault);
    }

    /// Every call of this kind suffers `fault` until it is lifted.
    pub fn always(&self, call: Call, fault: Fault) {
        lock(&self.always).insert(call, fault);
    }

    pub fn lift(&self) {
        lock(&self.always).clear();
        lock(&self.planned).clear();
    }

    /// Every planned fault has come.
    pub fn are_spent(&self) -> bool {
        lock(&self.planned).is_empty()
    }

    pub fn count(&self, call: Call) -> u64 {
        lock(&self.counts).get(&call).copied().unwrap_or(0)
    }

    pub fn counts(&self) -> BTreeMap<Call, u64> {
        lock(&self.counts).clone()
    }

    /// The process dies at the `nth` point from now on: that point never returns.
    pub fn die_at(&self, nth: u64) {
        self.dies_at.store(self.points.load(Ordering::SeqCst) + nth, Ordering::SeqCst);
    }

    /// A new process: nothing dies any more.
    pub fn revive(&self) {
        self.dies_at.store(u64::MAX, Ordering::SeqCst);
    }

    /// Returns when the planned death has come.
    pub async fn died(&self) {
        let mut notified = std::pin::pin!(self.death.notified());
        notified.as_mut().enable();
        if self.points.load(Ordering::SeqCst) < self.dies_at.load(Ordering::SeqCst) {
            notified.await;
        }
    }

    /// One point at which a process could die.
    pub async fn point(&self) {
        let point = self.points.fetch_add(1, Ordering::SeqCst) + 1;
        if point >= self.dies_at.load(Ordering::SeqCst) {
            self.death.notify_waiters();
            std::future::pending::<()>().await;
        }
        tokio::task::yield_now().await;
    }

    /// Stands before the effect of a call; the returned fault, if any, is for after it.
    pub(super) async fn before(
        &self,
        call: Call,
        operation: &'static str,
    ) -> Result<Option<Fault>, DriverError> {
        let nth = {
            let mut counts = lock(&self.counts);
            let count = counts.entry(call).or_default();
            *count += 1;
            *count
        };
        self.point().await;
        let planned = lock(&self.planned).remove(&(call, nth));
        let fault = planned.or_else(|| lock(&self.always).get(&call).copied());
        match fault {
            Some(Fault::Refuse(kind)) => Err(DriverError::new(kind, operation, "a planned fault")),
            Some(Fault::Hang) => std::future::pending().await,
            other => Ok(other),
        }
    }

    /// Stands after the effect of a call.
    pub(super) async fn after(
        &self,
        fault: Option<Fault>,
        operation: &'static str,
    ) -> Result<(), DriverError> {
        self.point().await;
        match fault {
            Some(Fault::LoseReply) => Err(DriverError::new(
                ErrorKind::Unreachable,
                operation,
                "the reply was lost (a planned fault)",
            )),
            _ => Ok(()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
