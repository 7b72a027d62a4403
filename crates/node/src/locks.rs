//! One async lock for each volume, and none over all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use model::VolumeId;
use tokio::sync::OwnedMutexGuard;

#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<HashMap<VolumeId, Weak<tokio::sync::Mutex<()>>>>);

impl Locks {
    pub(crate) async fn hold(&self, volume: &VolumeId) -> OwnedMutexGuard<()> {
        self.of(volume).lock_owned().await
    }

    /// `None` while somebody is at work on the volume.
    pub(crate) fn try_hold(&self, volume: &VolumeId) -> Option<OwnedMutexGuard<()>> {
        self.of(volume).try_lock_owned().ok()
    }

    fn of(&self, volume: &VolumeId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(volume).and_then(Weak::upgrade) {
            return lock;
        }
        // Locks nobody holds are swept when their number has doubled, so that each costs a constant time.
        if locks.len() == locks.capacity() {
            locks.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::default();
        locks.insert(volume.clone(), Arc::downgrade(&lock));
        lock
    }
}
