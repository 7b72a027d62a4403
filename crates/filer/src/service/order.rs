//! Who goes first: one change of a volume at a time, and none that has been overtaken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;

use crate::error::{FilerError, Result};

/// Locks by a volume's name on the pool, and the last turn of each client there.
#[derive(Debug, Default)]
pub(super) struct Order {
    locks: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    last: Mutex<HashMap<(u64, String), (u64, Instant)>>,
}

/// The place of a request among those of its client.
///
/// A request whose caller has given up may still lie in a socket. Done late, it would undo what the caller did
/// since: a delete would take the volume that was made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) client: u64,
    pub(super) number: u64,
}

const MANY: usize = 10_000;
/// No request lies in a socket for as long as that.
const FORGET: Duration = Duration::from_secs(3600);

impl Order {
    pub(super) async fn lock(&self, handle: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = taken(&self.locks);
            if locks.len() > MANY {
                locks.retain(|_, lock| lock.strong_count() > 0);
            }
            let live = locks.get(handle).and_then(Weak::upgrade);
            live.unwrap_or_else(|| {
                let lock = Arc::default();
                locks.insert(handle.to_owned(), Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }

    /// To be asked with the volume's lock held.
    ///
    /// # Errors
    /// `Busy` for a request that a later one of the same client has overtaken.
    pub(super) fn admit(&self, handle: &str, turn: Turn) -> Result<()> {
        let mut last = taken(&self.last);
        if last.len() > MANY {
            last.retain(|_, (_, since)| since.elapsed() < FORGET);
        }
        let (number, since) =
            last.entry((turn.client, handle.to_owned())).or_insert_with(|| (turn.number, Instant::now()));
        if turn.number < *number {
            return Err(FilerError::Busy(format!(
                "a later request for volume `{handle}` has overtaken this one; nothing was done"
            )));
        }
        (*number, *since) = (turn.number, Instant::now());
        Ok(())
    }
}

fn taken<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_was_overtaken_is_refused() {
        let order = Order::default();
        let turn = |client, number| Turn { client, number };
        order.admit("v", turn(1, 5)).unwrap();
        order.admit("v", turn(1, 5)).unwrap();
        order.admit("v", turn(1, 7)).unwrap();
        assert!(order.admit("v", turn(1, 6)).unwrap_err().to_string().contains("overtaken"));
        order.admit("w", turn(1, 6)).unwrap();
        order.admit("v", turn(2, 1)).unwrap();
    }

    #[tokio::test]
    async fn changes_of_one_volume_take_turns() {
        let order = Order::default();
        let first = order.lock("v").await;
        let _other = order.lock("w").await;
        let waiting = order.lock("v");
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut waiting).await.is_err());
        drop(first);
        waiting.await;
    }
}
