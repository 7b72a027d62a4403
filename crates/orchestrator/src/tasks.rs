//! What happens by itself. Tasks take no input and do not retry inside: their next round is the retry.

mod drift;
mod unfinished;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

pub(crate) use drift::Strays;
pub(crate) use unfinished::Retries;

use crate::orchestrator::{Inner, Orchestrator};

/// Starts all tasks; they end when the orchestrator stops or is dropped.
pub(crate) fn start(orchestrator: &Orchestrator) {
    let periods = orchestrator.settings().periods.clone();
    let never = Arc::new(Notify::new());
    let opened = orchestrator.inner().opened.clone();
    every(orchestrator, periods.retry, never.clone(), |o| async move { unfinished::round(&o) });
    every(orchestrator, periods.drift, opened, |o| async move { drift::round(&o).await });
    every(orchestrator, periods.probe, never, |o| async move { probe(o.inner()).await });
}

/// Runs rounds one after the other: the first at once, then each period and whenever it is woken.
fn every<F>(
    orchestrator: &Orchestrator,
    period: Duration,
    wake: Arc<Notify>,
    round: impl Fn(Orchestrator) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send,
{
    let weak = Arc::downgrade(orchestrator.inner());
    let stopping = orchestrator.inner().stopping.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                _ = ticks.tick() => {}
                () = wake.notified() => {}
            }
            let Some(inner) = weak.upgrade() else { return };
            round(Orchestrator::of(inner)).await;
        }
    });
}

/// Asks each backend whether it is there; a slow one delays no other.
async fn probe(inner: &Arc<Inner>) {
    let mut probes = tokio::task::JoinSet::new();
    for backend in inner.backends.all().values() {
        let (inner, backend) = (inner.clone(), backend.clone());
        probes.spawn(async move { backend.probe(inner.families.as_ref()).await });
    }
    probes.join_all().await;
}
