//! Counts the tools that the hands run, from what they log.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

static SEEN: Mutex<Seen> = Mutex::new(Seen { begun: BTreeMap::new(), running: 0, peak: 0 });

struct Seen {
    /// How often each tool was begun.
    begun: BTreeMap<String, u64>,
    running: u64,
    /// The most that ran at the same time.
    peak: u64,
}

struct Counter;

#[derive(Default)]
struct Line {
    command: String,
    message: String,
}

/// Counts from now on.
pub fn watch() {
    let subscriber = tracing_subscriber::registry().with(Counter);
    // Somebody else's is as good: then nothing is counted, and a test sees that.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

pub(crate) fn so_far() -> (BTreeMap<String, u64>, u64) {
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    (seen.begun.clone(), seen.peak)
}

impl<S: Subscriber> Layer<S> for Counter {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        match line.message.as_str() {
            "tool begins" => {
                let tool = line.command.split(' ').next().unwrap_or_default();
                *seen.begun.entry(tool.to_owned()).or_default() += 1;
                seen.running += 1;
                seen.peak = seen.peak.max(seen.running);
            }
            "tool ended" => seen.running = seen.running.saturating_sub(1),
            _ => {}
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "command" => self.command = format!("{value:?}"),
            "message" => self.message = format!("{value:?}"),
            _ => {}
        }
    }
}
