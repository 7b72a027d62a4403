use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::ioctl::btrfs;

/// Group commit: one transaction commit makes the work of everyone durable who asked before it began.
#[derive(Debug, Default)]
pub(super) struct GroupCommit {
    rounds: Mutex<Rounds>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Rounds {
    started: u64,
    /// The last round that succeeded.
    durable: u64,
    running: bool,
}

impl GroupCommit {
    /// Returns when everything the caller did before is durable.
    pub(super) fn wait(&self, fd: impl AsFd) -> rustix::io::Result<()> {
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        // A round that runs now may have begun before the caller's work: only the next one counts.
        let wanted = rounds.started + 1;
        loop {
            if rounds.durable >= wanted {
                return Ok(());
            }
            if rounds.running {
                rounds = self.ended.wait(rounds).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            rounds.running = true;
            rounds.started += 1;
            let round = rounds.started;
            drop(rounds);
            let result = btrfs::commit(&fd);
            rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
            rounds.running = false;
            if result.is_ok() {
                rounds.durable = round;
            }
            self.ended.notify_all();
            // The others of a failed round run their own and see its error themselves.
            result?;
        }
    }
}
