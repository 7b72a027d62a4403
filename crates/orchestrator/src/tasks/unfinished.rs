//! Finishes what was begun: after a crash, an outage, a refusal.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::VolumeId;
use tokio::time::Instant;

use crate::orchestrator::Orchestrator;
use crate::request::Request;

/// When each unfinished volume is tried next.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    next: Mutex<HashMap<VolumeId, Try>>,
}

#[derive(Debug)]
struct Try {
    at: Instant,
    pause: Duration,
}

/// At most this many are started in one round: an outage of a big array must not end in a stampede.
const AT_ONCE: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

pub(super) fn round(orchestrator: &Orchestrator) {
    let inner = orchestrator.inner();
    if !inner.writer.leads() {
        return;
    }
    let catalogue = orchestrator.catalogue();
    // A backend that is not known (yet) cannot be worked with; the doctor tells of it.
    let is_known = |volume: &VolumeId| {
        catalogue.volume(volume).is_some_and(|record| inner.backends.find(&record.backend).is_some())
    };
    let idle = catalogue.unfinished().filter(|volume| !inner.running.is_running(volume) && is_known(volume));
    let due: Vec<VolumeId> = inner.retries.due(idle);
    for volume in due {
        // Somebody may have begun something with it just now: then the next round looks again.
        let _ = orchestrator.submit(Request::Reconcile { volume, strays: Vec::new() });
    }
}

impl Retries {
    /// Those whose time has come, with the pause to the time after doubled.
    fn due<'a>(&self, unfinished: impl Iterator<Item = &'a VolumeId>) -> Vec<VolumeId> {
        let now = Instant::now();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = HashMap::new();
        let mut due = Vec::new();
        for volume in unfinished {
            let entry = next.remove(volume);
            let entry = match entry {
                Some(entry) if entry.at > now || due.len() >= AT_ONCE => entry,
                None if due.len() >= AT_ONCE => continue,
                seen => {
                    due.push(volume.clone());
                    let pause = seen.map_or(FIRST_PAUSE, |seen| (seen.pause * 2).min(LONGEST_PAUSE));
                    Try { at: now + pause, pause }
                }
            };
            kept.insert(volume.clone(), entry);
        }
        *next = kept;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_are_forgotten_when_the_work_is_done() {
        let retries = Retries::default();
        let volume = VolumeId::new("v").unwrap();
        let due = || retries.due([&volume].into_iter()).len();
        assert_eq!(due(), 1);
        assert_eq!(due(), 0);
        tokio::time::advance(FIRST_PAUSE).await;
        assert_eq!(due(), 1);
        tokio::time::advance(FIRST_PAUSE).await;
        assert_eq!(due(), 0, "the second pause is longer");
        assert_eq!(retries.due(std::iter::empty()).len(), 0);
        assert_eq!(due(), 1, "a volume that was finished in between starts anew");
    }
}
