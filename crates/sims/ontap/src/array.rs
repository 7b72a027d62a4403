//! The array behind the wire: who calls, which resource is meant, and the state that answers.

mod answer;
mod door;
pub(crate) mod jobs;
mod links;
mod route;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sim_kit::{Call, Clock, Reply, Simulator};

use crate::Backing;
use crate::refusal::{Refusal, Result};
use crate::state::State;

pub(crate) use door::Account;

/// What one array can hold. The numbers are those of a mid-range cluster; a test may lower them.
#[derive(Clone, Debug)]
pub struct Limits {
    pub volumes_per_node: usize,
    pub snapshots_per_volume: usize,
    pub qtrees_per_volume: usize,
    pub luns_per_volume: usize,
    pub luns_per_igroup: usize,
    pub initiators_per_igroup: usize,
    pub namespaces_per_subsystem: usize,
    pub hosts_per_subsystem: usize,
    pub smallest_volume: u64,
    pub largest_volume: u64,
    pub smallest_constituent: u64,
    pub largest_lun: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            volumes_per_node: 2_500,
            snapshots_per_volume: 1_023,
            qtrees_per_volume: 4_995,
            luns_per_volume: 1_024,
            luns_per_igroup: 4_096,
            initiators_per_igroup: 256,
            namespaces_per_subsystem: 1_024,
            hosts_per_subsystem: 64,
            smallest_volume: 20 << 20,
            largest_volume: 300 << 40,
            smallest_constituent: 100 << 20,
            largest_lun: 128 << 40,
        }
    }
}

/// How this array behaves where arrays differ.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    pub limits: Limits,
    /// A volume that is mounted can be deleted without being unmounted first.
    pub deletes_mounted: bool,
    /// What is wrong with a change that has a job is said by the job, not at once.
    pub errors_by_job: bool,
    /// How long jobs and splits take.
    pub job_time: Duration,
    pub split_time: Duration,
}

/// The array.
pub(crate) struct Array {
    pub(crate) clock: Clock,
    accounts: Mutex<Vec<Account>>,
    inner: Mutex<Inner>,
    /// Rings when a job has ended by word instead of by clock.
    told: tokio::sync::Notify,
}

pub(crate) struct Inner {
    pub state: State,
    pub manner: Manner,
    /// Grows with each change: who writes the state to a file looks at it.
    pub generation: u64,
    backing: Option<Arc<dyn Backing>>,
}

impl Array {
    pub(crate) fn new(
        state: State,
        manner: Manner,
        clock: Clock,
        accounts: Vec<Account>,
        backing: Option<Arc<dyn Backing>>,
    ) -> Self {
        let inner = Mutex::new(Inner { state, manner, generation: 0, backing });
        Self { clock, accounts: Mutex::new(accounts), inner, told: tokio::sync::Notify::new() }
    }

    pub(crate) fn accounts(&self) -> MutexGuard<'_, Vec<Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes over a changed state, when the storage behind the array has followed.
    fn take_over(&mut self, draft: State) -> Result<()> {
        if let Some(backing) = &self.backing
            && let Err(reason) = backing.follow(&self.state, &draft)
        {
            tracing::warn!("the storage behind the array does not follow: {reason}");
            return Err(Refusal::new(500, 2, format!("The storage behind this simulator says: {reason}")));
        }
        self.state = draft;
        self.generation += 1;
        Ok(())
    }
}

impl Simulator for Array {
    fn template(&self, call: &Call) -> String {
        format!("{} {}", call.method, route::template(&call.path))
    }

    async fn answer(&self, call: Call) -> Reply {
        let scope = {
            let inner = self.lock();
            match door::enter(&self.accounts(), &inner.state, &call) {
                Ok(scope) => scope,
                Err(refusal) => return refuse(&refusal),
            }
        };
        self.answer_scoped(&call, scope.as_deref()).await
    }

    fn session_expired(&self) -> Reply {
        refuse(&door::unauthorized())
    }
}

/// The reply to a refused call.
pub(crate) fn refuse(refusal: &Refusal) -> Reply {
    let reply = Reply::json(refusal.status, "application/hal+json", &refusal.body());
    if refusal.status == 401 {
        reply.with_header("www-authenticate", "Basic realm=\"Private\"")
    } else {
        reply
    }
}
