//! Which volumes are to be looked at, and when: each by one worker at a time, and again after a failure.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// Volumes by name, and the time at which each is due.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: HashMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    state: State,
    failures: u32,
    /// Nobody looks at it again before: what we write ourselves comes back as a change.
    not_before: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Due(Instant),
    Running { again: bool },
}

const FIRST: Duration = Duration::from_secs(1);
/// As often as the provisioner before us looked at everything.
const LONGEST: Duration = Duration::from_secs(60);

impl Queue {
    /// Something about it has changed.
    pub(crate) fn want(&mut self, name: &str, now: Instant) {
        match self.entries.get_mut(name) {
            None => {
                let entry = Entry { state: State::Due(now), failures: 0, not_before: now };
                self.entries.insert(name.to_owned(), entry);
            }
            Some(entry) => match &mut entry.state {
                State::Running { again } => *again = true,
                State::Due(at) => *at = (*at).min(now.max(entry.not_before)),
            },
        }
    }

    /// Takes at most so many that are due.
    pub(crate) fn take(&mut self, most: usize, now: Instant) -> Vec<String> {
        let due =
            self.entries.iter_mut().filter(|(_, entry)| matches!(entry.state, State::Due(at) if at <= now));
        due.take(most)
            .map(|(name, entry)| {
                entry.state = State::Running { again: false };
                name.clone()
            })
            .collect()
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        let due = self.entries.values().filter_map(|entry| match entry.state {
            State::Due(at) => Some(at),
            State::Running { .. } => None,
        });
        due.min()
    }

    /// It has been looked at.
    pub(crate) fn done(&mut self, name: &str, succeeded: bool, now: Instant) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let again = entry.state == State::Running { again: true };
        if succeeded {
            if again {
                *entry = Entry { state: State::Due(now), failures: 0, not_before: now };
            } else {
                self.entries.remove(name);
            }
            return;
        }
        let pause = FIRST.saturating_mul(1 << entry.failures.min(6)).min(LONGEST);
        entry.failures += 1;
        entry.not_before = now + FIRST;
        entry.state = State::Due(if again { entry.not_before } else { now + pause });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_looked_at_by_one_and_again_if_it_changes_meanwhile() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.want("a", now);
        queue.want("a", now);
        assert_eq!(queue.take(8, now), ["a"]);
        queue.want("a", now);
        assert!(queue.take(8, now).is_empty() && queue.next().is_none());
        queue.done("a", true, now);
        assert_eq!(queue.take(8, now), ["a"]);
        queue.done("a", true, now);
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn a_failure_is_tried_again_later_and_later_and_at_a_change_after_a_moment() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.want("a", now);
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(queue.take(8, now), ["a"]);
            queue.done("a", false, now);
            assert_eq!(queue.next(), Some(now + Duration::from_secs(pause)));
            now += Duration::from_secs(pause);
        }
        assert_eq!(queue.take(8, now), ["a"]);
        queue.done("a", false, now);
        queue.want("a", now);
        assert_eq!(queue.next(), Some(now + FIRST));
    }

    #[test]
    fn no_more_are_taken_than_there_are_hands() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for name in ["a", "b", "c"] {
            queue.want(name, now);
        }
        assert_eq!(queue.take(2, now).len(), 2);
        assert_eq!(queue.take(2, now).len(), 1);
    }
}
