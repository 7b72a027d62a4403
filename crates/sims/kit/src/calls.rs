//! What was asked: a log, and counts for each method and path template.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde_json::Value;

/// Calls that the log keeps; counts know all of them.
const KEPT: usize = 20_000;

/// The record of the calls to one simulator.
#[derive(Debug, Default)]
pub struct Calls {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    log: VecDeque<Logged>,
    counts: BTreeMap<String, usize>,
    in_flight: usize,
    most_in_flight: usize,
    connections: usize,
}

/// One call, and what became of it.
#[derive(Clone, Debug)]
pub struct Logged {
    pub template: String,
    pub method: String,
    pub path: String,
    pub query: String,
    /// The body, where it was JSON; null otherwise.
    pub body: Value,
    /// None when no reply was sent.
    pub status: Option<u16>,
    pub reply: Value,
}

impl Calls {
    /// How many calls there were by this template (`POST /storage/volumes`), including those that a fault refused.
    pub fn count(&self, template: &str) -> usize {
        self.lock().counts.get(template).copied().unwrap_or(0)
    }

    /// The counts of all templates.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        self.lock().counts.clone()
    }

    /// The number of calls.
    pub fn total(&self) -> usize {
        self.lock().counts.values().sum()
    }

    /// The last calls (up to 20,000), oldest first.
    pub fn log(&self) -> Vec<Logged> {
        self.lock().log.iter().cloned().collect()
    }

    /// The greatest number of calls that were under way at once.
    pub fn most_in_flight(&self) -> usize {
        self.lock().most_in_flight
    }

    /// How many connections were accepted: far fewer than calls, where clients keep theirs.
    pub fn connections(&self) -> usize {
        self.lock().connections
    }

    pub(crate) fn connected(&self) {
        self.lock().connections += 1;
    }

    /// Forgets all calls.
    pub fn reset(&self) {
        let mut inner = self.lock();
        let in_flight = inner.in_flight;
        *inner = Inner { in_flight, most_in_flight: in_flight, ..Inner::default() };
    }

    pub(crate) fn begin(&self, template: &str) -> InFlight<'_> {
        let mut inner = self.lock();
        *inner.counts.entry(template.to_owned()).or_default() += 1;
        inner.in_flight += 1;
        inner.most_in_flight = inner.most_in_flight.max(inner.in_flight);
        InFlight(self)
    }

    pub(crate) fn note(&self, logged: Logged) {
        let mut inner = self.lock();
        if inner.log.len() == KEPT {
            inner.log.pop_front();
        }
        inner.log.push_back(logged);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way; a caller that leaves ends it too.
pub(crate) struct InFlight<'a>(&'a Calls);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.lock().in_flight -= 1;
    }
}

/// The JSON that a body holds; null when it holds something else.
pub(crate) fn parsed(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap_or(Value::Null)
}
