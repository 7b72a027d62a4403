//! Faults as data: which calls they meet, and what happens to them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;

/// What shall go wrong with some calls.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// `POST /storage/volumes`; `*` stands for anything, also for a part: `GET *`, `* /storage/luns*`.
    pub calls: String,
    /// Only calls whose query or body contains this text.
    #[serde(default)]
    pub containing: Option<String>,
    /// Matching calls that pass before the first one is met.
    #[serde(default)]
    pub after: usize,
    /// How many calls are met; none means all from then on.
    #[serde(default = "once")]
    pub times: Option<usize>,
    pub effect: Effect,
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing is done; this is answered.
    Answer {
        status: u16,
        body: Body,
        #[serde(default)]
        headers: Vec<(String, String)>,
    },
    /// Nothing is done, and the connection breaks.
    Drop,
    /// It is done, and the connection breaks before the reply.
    ApplyAndDrop,
    /// It is done, and half of the reply is sent.
    ApplyAndTruncate,
    /// Nothing happens until [`Faults::release`] or, where given, this many milliseconds; then it goes on.
    Stall { milliseconds: Option<u64> },
    /// It is done; the reply waits until [`Faults::release`] or, where given, this many milliseconds.
    ApplyAndStall { milliseconds: Option<u64> },
    /// Nothing is done; the answer is that of an ended session.
    ExpireSession,
    /// The job that the call starts fares so.
    Job(JobFault),
}

/// A body, as JSON or as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    Json(Value),
    /// With its content type.
    Text(String, String),
}

/// How a job fares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobFault {
    /// It ends this many milliseconds later, by the array's clock.
    Slow(u64),
    /// It ends when told.
    Held,
    /// It fails with a code and a message, having done nothing or, with `applied`, all.
    Fails {
        code: i64,
        message: String,
        #[serde(default)]
        applied: bool,
        #[serde(default)]
        milliseconds: u64,
    },
}

/// The time that every call takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub milliseconds: u64,
    /// Up to this much more, evenly spread.
    #[serde(default)]
    pub jitter: u64,
}

/// What happens to calls beyond the number that the array works on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overload {
    /// They wait for their turn.
    Wait,
    /// They are answered with this status and a `Retry-After`.
    Refuse { status: u16, retry_after: u64 },
}

/// The faults of one simulator.
#[derive(Debug, Default)]
pub struct Faults {
    inner: Mutex<Inner>,
    released: Notify,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    faults: Vec<Armed>,
    latency: HashMap<String, Latency>,
    limit: Option<(usize, Overload)>,
    working: usize,
    random: u64,
    met: usize,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    seen: usize,
    met: usize,
}

impl Faults {
    /// Arms a fault. Where several meet one call, the one that was armed first counts.
    pub fn add(&self, fault: Fault) {
        self.lock().faults.push(Armed { fault, seen: 0, met: 0 });
    }

    /// Arms a fault for the next matching call.
    pub fn once(&self, calls: &str, effect: Effect) {
        self.nth(calls, 1, effect);
    }

    /// Arms a fault for the nth matching call from now, counted from 1.
    pub fn nth(&self, calls: &str, nth: usize, effect: Effect) {
        let after = nth.saturating_sub(1);
        self.add(Fault { calls: calls.into(), containing: None, after, times: Some(1), effect });
    }

    /// Arms a fault for every matching call until [`Faults::clear`].
    pub fn always(&self, calls: &str, effect: Effect) {
        self.add(Fault { calls: calls.into(), containing: None, after: 0, times: None, effect });
    }

    /// Every call that fits the pattern takes this long; the longest pattern that fits counts.
    pub fn set_latency(&self, calls: &str, latency: Latency) {
        self.lock().latency.insert(calls.into(), latency);
    }

    /// The array works on so many calls at once.
    pub fn limit_in_flight(&self, calls: usize, overload: Overload) {
        self.lock().limit = Some((calls, overload));
        self.freed.notify_waiters();
    }

    /// Disarms all faults, lets stalled calls go, and takes away latency and limit.
    pub fn clear(&self) {
        let mut inner = self.lock();
        *inner = Inner { working: inner.working, met: inner.met, random: inner.random, ..Inner::default() };
        drop(inner);
        self.release();
        self.freed.notify_waiters();
    }

    /// Lets stalled calls go.
    pub fn release(&self) {
        self.released.notify_waiters();
    }

    /// How many calls met a fault: a test of a fault that met none proves nothing.
    pub fn met(&self) -> usize {
        self.lock().met
    }

    pub(crate) fn meet(&self, template: &str, content: impl Fn(&str) -> bool) -> Option<Effect> {
        let mut inner = self.lock();
        let mut effect = None;
        for armed in &mut inner.faults {
            let fault = &armed.fault;
            let fits = matches(&fault.calls, template)
                && fault.containing.as_deref().is_none_or(&content)
                && fault.times.is_none_or(|times| armed.met < times);
            if !fits {
                continue;
            }
            armed.seen += 1;
            if effect.is_none() && armed.seen > fault.after {
                armed.met += 1;
                effect = Some(fault.effect.clone());
            }
        }
        inner.met += usize::from(effect.is_some());
        effect
    }

    pub(crate) async fn wait(&self, milliseconds: Option<u64>) {
        let released = self.released.notified();
        match milliseconds {
            Some(limit) => drop(tokio::time::timeout(Duration::from_millis(limit), released).await),
            None => released.await,
        }
    }

    pub(crate) fn latency(&self, template: &str) -> Duration {
        let mut inner = self.lock();
        let fitting = inner.latency.iter().filter(|(calls, _)| matches(calls, template));
        let Some(latency) = fitting.max_by_key(|(calls, _)| calls.len()).map(|(_, latency)| *latency) else {
            return Duration::ZERO;
        };
        Duration::from_millis(latency.milliseconds + draw(&mut inner.random, latency.jitter))
    }

    /// A place among the calls that are worked on, or the refusal of it.
    pub(crate) async fn admit(&self) -> Result<Place<'_>, (u16, u64)> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            {
                let mut inner = self.lock();
                match inner.limit {
                    Some((limit, overload)) if inner.working >= limit => {
                        if let Overload::Refuse { status, retry_after } = overload {
                            inner.met += 1;
                            return Err((status, retry_after));
                        }
                    }
                    _ => {
                        inner.working += 1;
                        return Ok(Place(self));
                    }
                }
            }
            freed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the calls that are worked on.
pub(crate) struct Place<'a>(&'a Faults);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.lock().working -= 1;
        self.0.freed.notify_waiters();
    }
}

fn once() -> Option<usize> {
    Some(1)
}

/// Whether a text fits a pattern with `*` for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    true
}

/// A number from 0 to `most`, evenly spread enough for a latency.
fn draw(random: &mut u64, most: u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    if most == 0 { 0 } else { (*random >> 33) % (most + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_what_its_stars_leave_open() {
        for (pattern, text, fits) in [
            ("GET /a", "GET /a", true),
            ("GET /a", "GET /ab", false),
            ("GET *", "GET /a/b", true),
            ("* /a", "PATCH /a", true),
            ("*/a/*", "GET /x/a/b", true),
            ("*", "anything", true),
            ("GET /a*c", "GET /abcbc", true),
            ("GET /a*c", "GET /abcb", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} and {text}");
        }
    }

    #[test]
    fn the_nth_call_is_met_and_no_other() {
        let faults = Faults::default();
        faults.nth("POST /a", 3, Effect::Drop);
        let met: Vec<bool> = (0..5).map(|_| faults.meet("POST /a", |_| true).is_some()).collect();
        assert_eq!(met, [false, false, true, false, false]);
        assert_eq!(faults.met(), 1);
    }

    #[test]
    fn a_fault_can_be_written_as_json() {
        let text = r#"{"calls":"POST *","effect":{"job":{"fails":{"code":1,"message":"m"}}}}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(fault.times, Some(1));
        assert!(matches!(fault.effect, Effect::Job(JobFault::Fails { code: 1, applied: false, .. })));
    }
}
