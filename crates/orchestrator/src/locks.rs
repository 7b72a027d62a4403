//! One lock per volume, with a label that says who has it. Snapshots share their volume's.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use model::{BackendName, Handle, SnapshotName, VolumeId};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::operation::Verb;

/// What can be locked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Lockable {
    Volume(VolumeId),
    /// A snapshot's name, while several volumes are snapshotted together.
    Group(SnapshotName),
    /// A name on a backend, while it is being claimed.
    Handle(BackendName, Handle),
}

/// Locks by name. The table itself is split so that finding a lock never waits for another's finder.
#[derive(Debug)]
pub(crate) struct Locks {
    shards: Vec<Mutex<HashMap<Lockable, Weak<RwLock<()>>>>>,
    hasher: RandomState,
}

pub(crate) enum Guard {
    Shared { _guard: OwnedRwLockReadGuard<()> },
    Exclusive { _guard: OwnedRwLockWriteGuard<()> },
}

const SHARDS: usize = 64;
/// Longer waits are worth a line in the log: something hangs.
const LONG: Duration = Duration::from_secs(30);

impl Locks {
    pub(crate) fn new() -> Locks {
        Locks { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }

    pub(crate) async fn exclusive(&self, name: Lockable, verb: Verb) -> Guard {
        let lock = self.find(&name);
        let guard = patiently(&name, verb, lock.write_owned()).await;
        Guard::Exclusive { _guard: guard }
    }

    pub(crate) async fn shared(&self, name: Lockable, verb: Verb) -> Guard {
        let lock = self.find(&name);
        let guard = patiently(&name, verb, lock.read_owned()).await;
        Guard::Shared { _guard: guard }
    }

    /// A volume to change and, if any, one to read: in the order of their names, so that two clones in opposite
    /// directions cannot wait for each other.
    pub(crate) async fn volumes(
        &self,
        changed: &VolumeId,
        read: Option<&VolumeId>,
        verb: Verb,
    ) -> Vec<Guard> {
        let exclusive = |id: &VolumeId| self.exclusive(Lockable::Volume(id.clone()), verb);
        match read {
            Some(read) if read < changed => {
                let first = self.shared(Lockable::Volume(read.clone()), verb).await;
                vec![first, exclusive(changed).await]
            }
            Some(read) if read > changed => {
                let first = exclusive(changed).await;
                vec![first, self.shared(Lockable::Volume(read.clone()), verb).await]
            }
            _ => vec![exclusive(changed).await],
        }
    }

    /// Several volumes to change, in the order of their names.
    pub(crate) async fn all(&self, volumes: &BTreeSet<VolumeId>, verb: Verb) -> Vec<Guard> {
        let mut guards = Vec::new();
        for id in volumes {
            guards.push(self.exclusive(Lockable::Volume(id.clone()), verb).await);
        }
        guards
    }

    fn find(&self, name: &Lockable) -> Arc<RwLock<()>> {
        #[allow(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let shard = self.hasher.hash_one(name) as usize % SHARDS;
        let mut shard = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = shard.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        if shard.len() > 128 {
            shard.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::new(RwLock::new(()));
        shard.insert(name.clone(), Arc::downgrade(&lock));
        lock
    }
}

async fn patiently<G>(name: &Lockable, verb: Verb, lock: impl Future<Output = G>) -> G {
    let mut lock = std::pin::pin!(lock);
    loop {
        match tokio::time::timeout(LONG, lock.as_mut()).await {
            Ok(guard) => return guard,
            Err(_) => tracing::warn!(?name, %verb, "still waiting for a lock"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> VolumeId {
        VolumeId::new(name).unwrap()
    }

    #[tokio::test]
    async fn clones_in_opposite_directions_do_not_wait_for_each_other_for_ever() {
        let locks = Arc::new(Locks::new());
        let mut tasks = tokio::task::JoinSet::new();
        for round in 0..200 {
            let locks = locks.clone();
            tasks.spawn(async move {
                let (a, b) = if round % 2 == 0 { ("a", "b") } else { ("b", "a") };
                let _guards = locks.volumes(&id(a), Some(&id(b)), Verb::Clone).await;
                tokio::task::yield_now().await;
            });
        }
        tokio::time::timeout(Duration::from_secs(20), tasks.join_all()).await.expect("no deadlock");
    }

    #[tokio::test]
    async fn readers_of_one_source_do_not_exclude_each_other() {
        let locks = Locks::new();
        let _first = locks.volumes(&id("x"), Some(&id("source")), Verb::Clone).await;
        let _second = locks.volumes(&id("y"), Some(&id("source")), Verb::Clone).await;
        let source = id("source");
        let third = locks.volumes(&source, None, Verb::Delete);
        assert!(
            tokio::time::timeout(Duration::from_millis(20), third).await.is_err(),
            "deletes wait for clones"
        );
    }
}
