//! A store that lives as long as the process, for tests and trials.

use std::sync::Mutex;
use std::sync::{Arc, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use futures::stream::BoxStream;
use imbl::OrdMap;

use crate::feed::Feed;
use crate::{Change, Entry, Fence, Key, Kind, Lease, Revision, Store, StoreError, Write};

type Records = OrdMap<Key, Entry>;

/// Records in memory. Several instances may share one by `Arc`, as they would share a server.
///
/// # Behavior
/// A lease has no clock: it lasts until it is released, its holder acquires again, or
/// [`MemoryStore::expire_lease`] ends it. Readers work on a snapshot and never wait.
#[derive(Debug)]
pub struct MemoryStore {
    records: ArcSwap<Records>,
    head: Mutex<Head>,
    feed: Feed,
}

/// What only one writer at a time may touch.
#[derive(Debug)]
struct Head {
    revision: u64,
    fence: u64,
    holder: Option<String>,
}

impl MemoryStore {
    pub fn new() -> MemoryStore {
        MemoryStore {
            records: ArcSwap::from_pointee(Records::new()),
            head: Mutex::new(Head { revision: 0, fence: 0, holder: None }),
            feed: Feed::new(crate::feed::CAPACITY),
        }
    }

    /// Ends the current lease, as if its holder had not renewed it in time.
    ///
    /// # Behavior
    /// The holder's next `renew` or `commit` is `Fenced`, and anybody may acquire. Without a holder nothing
    /// happens.
    pub fn expire_lease(&self) {
        self.head().end_lease();
    }

    fn head(&self) -> MutexGuard<'_, Head> {
        // Nothing is left half done by a panic: the head is changed only after all checks.
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        MemoryStore::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn acquire(&self, holder: &str) -> Result<Lease, StoreError> {
        let mut head = self.head();
        if let Some(current) = head.holder.as_ref().filter(|current| *current != holder) {
            return Err(StoreError::Held { holder: current.clone() });
        }
        head.fence += 1;
        head.holder = Some(holder.to_owned());
        Ok(Lease { holder: holder.to_owned(), fence: Fence(head.fence), expires_in: None })
    }

    async fn renew(&self, lease: &Lease) -> Result<(), StoreError> {
        self.head().check(lease.fence)
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let mut head = self.head();
        if head.check(lease.fence).is_ok() {
            head.end_lease();
        }
        Ok(())
    }

    async fn list(&self, kind: Kind) -> Result<Vec<Entry>, StoreError> {
        let records = self.records.load_full();
        let of_kind = records.range(Key::new(kind, "")..).take_while(|(key, _)| key.kind == kind);
        Ok(of_kind.map(|(_, entry)| entry.clone()).collect())
    }

    async fn find(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        Ok(self.records.load().get(key).cloned())
    }

    async fn commit(&self, fence: Fence, writes: Vec<Write>) -> Result<Revision, StoreError> {
        let mut head = self.head();
        head.check(fence)?;
        if writes.is_empty() {
            return Ok(Revision(head.revision));
        }
        let revision = Revision(head.revision + 1);
        let mut records = Records::clone(&self.records.load());
        let mut changes = Vec::with_capacity(writes.len());
        for write in writes {
            changes.extend(apply(&mut records, write, revision)?);
        }
        self.records.store(Arc::new(records));
        head.revision = revision.0;
        self.feed.tell(changes);
        Ok(revision)
    }

    async fn watch(&self, kind: Kind) -> Result<BoxStream<'static, Change>, StoreError> {
        Ok(self.feed.watch(kind))
    }
}

impl Head {
    fn check(&self, presented: Fence) -> Result<(), StoreError> {
        let current = Fence(self.fence);
        if presented == current { Ok(()) } else { Err(StoreError::Fenced { presented, current }) }
    }

    fn end_lease(&mut self) {
        if self.holder.take().is_some() {
            // So that the number handed out last is stale at once.
            self.fence += 1;
        }
    }
}

fn apply(records: &mut Records, write: Write, revision: Revision) -> Result<Option<Change>, StoreError> {
    let Write { key, expected, value } = write;
    let found = records.get(&key).map(|entry| entry.revision);
    if found != expected {
        return Err(StoreError::Conflict { key, expected, found });
    }
    Ok(match value {
        Some(value) => {
            let entry = Entry { key: key.clone(), value, revision };
            records.insert(key, entry.clone());
            Some(Change::Put(entry))
        }
        None => records.remove(&key).map(|_| Change::Deleted(key, revision)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Fixture;

    async fn open() -> Fixture {
        Fixture::new(Arc::new(MemoryStore::new()), ())
    }

    crate::run_against!(open);

    #[tokio::test]
    async fn an_expired_lease_can_be_taken_over_and_fences_its_holder() {
        let store = MemoryStore::new();
        let old = store.acquire("a").await.unwrap();
        store.expire_lease();
        assert!(matches!(store.renew(&old).await, Err(StoreError::Fenced { .. })));
        let new = store.acquire("b").await.unwrap();
        assert!(new.fence > old.fence);
        assert!(matches!(store.commit(old.fence, vec![]).await, Err(StoreError::Fenced { .. })));
        store.commit(new.fence, vec![]).await.unwrap();
    }
}
