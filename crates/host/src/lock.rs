//! One async lock per key, and none over all of them.

use std::any::Any;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::error::{Doing, Result};

/// A held lock. Work that outlives its request (a thread in a system call, a tool that is being killed) keeps a
/// copy, so that the next request starts only when the last trace of this one has ended.
pub(crate) type Hold = Arc<dyn Any + Send + Sync>;

#[derive(Debug)]
pub(crate) struct Locks<K>(Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>);

impl<K: Hash + Eq> Locks<K> {
    pub(crate) fn new() -> Self {
        Locks(Mutex::new(HashMap::new()))
    }

    pub(crate) async fn hold(&self, key: K) -> Hold {
        let lock = self.lock_of(key);
        Arc::new(lock.lock_owned().await)
    }

    fn lock_of(&self, key: K) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(&key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        locks.insert(key, Arc::downgrade(&lock));
        lock
    }
}

/// Both locks as one.
pub(crate) fn both(first: &Hold, second: Hold) -> Hold {
    Arc::new((first.clone(), second))
}

/// Runs system calls that may block on a thread that keeps the lock until they are done.
pub(crate) async fn blocking<T: Send + 'static>(
    hold: &Hold,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let hold = hold.clone();
    let done = tokio::task::spawn_blocking(move || {
        let result = work();
        drop(hold);
        result
    });
    done.await.map_err(std::io::Error::other).doing(|| "finish work on a blocking thread".to_owned())?
}
