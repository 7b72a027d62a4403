//! Durable records: bytes with revisions, compare-and-set, a fenced lease, and a watch.
//!
//! A store knows no volume. All writers present the fencing number of the lease they hold, so one that
//! lost its lease cannot write any more.

mod etcd;
mod feed;
mod kubernetes;
mod memory;
mod sqlite;
#[cfg(any(test, feature = "suite"))]
pub mod suite;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

pub use etcd::{EtcdConfig, EtcdStore, EtcdUser};
pub use kubernetes::{Column, Definition, KubernetesConfig, KubernetesStore, definitions, kubernetes_client};
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;

/// A family of records, such as `volume`.
pub type Kind = &'static str;

/// Names one record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub kind: Kind,
    pub id: Arc<str>,
}

/// Grows with each write to the store; a record carries that of its last write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// Grows with each change of the lease's holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(pub u64);

/// A record as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Key,
    pub value: Arc<[u8]>,
    pub revision: Revision,
}

/// One change; several in one commit happen together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub key: Key,
    /// The revision the writer has seen; `None`: it believes that there is no such record.
    pub expected: Option<Revision>,
    /// The new content; `None` deletes.
    pub value: Option<Arc<[u8]>>,
}

/// The right to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub holder: String,
    pub fence: Fence,
    /// How long it lasts without renewal; `None`: as long as the process lives.
    pub expires_in: Option<Duration>,
}

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put(Entry),
    Deleted(Key, Revision),
    /// The watcher was too slow or the history is gone: load everything again.
    Lagged,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else wrote the record since it was read.
    #[error("{key} was changed by another writer (expected {expected:?}, found {found:?})")]
    Conflict { key: Key, expected: Option<Revision>, found: Option<Revision> },
    /// The lease is held by somebody else now; stop writing.
    #[error("the writer's fencing number {presented:?} is stale: the lease has moved on to {current:?}")]
    Fenced { presented: Fence, current: Fence },
    /// Another instance holds the store.
    #[error("the store is in use by {holder}; stop that instance or choose another store")]
    Held { holder: String },
    /// The content is not what this program wrote. Nothing was changed.
    #[error("the store {place} cannot be used: {problem}; it was left as it is; {advice}")]
    Damaged { place: String, problem: String, advice: String },
    /// The store does not take us for somebody who may do this; nothing was changed.
    #[error("the store does not let us {operation}: {problem}")]
    Denied { operation: &'static str, problem: String },
    /// The store takes nothing this large; nothing was changed.
    #[error("the store refused to {operation}: {problem}; its limits are set where it runs")]
    TooLarge { operation: &'static str, problem: String },
    #[error("the store did not answer: {operation}")]
    Unavailable {
        operation: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Durable records.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Becomes the writer.
    ///
    /// # Behavior
    /// Granted when nobody else's lease is alive; in a store for one process that means within the open store.
    /// The fencing number is larger than any handed out before, and all of those are stale from then on, also
    /// when the same holder acquires again.
    ///
    /// # Errors
    /// `Held` names who has it.
    async fn acquire(&self, holder: &str) -> Result<Lease, StoreError>;

    /// Keeps the lease. `Fenced` when it was lost.
    async fn renew(&self, lease: &Lease) -> Result<(), StoreError>;

    /// Gives the lease up, so that another can have it at once; its fencing number is stale then. Idempotent.
    async fn release(&self, lease: &Lease) -> Result<(), StoreError>;

    /// Every record of a kind, ordered by id.
    async fn list(&self, kind: Kind) -> Result<Vec<Entry>, StoreError>;

    async fn find(&self, key: &Key) -> Result<Option<Entry>, StoreError>;

    /// Writes durably, all or nothing.
    ///
    /// # Behavior
    /// When it returns `Ok`, the change survives power loss. Concurrent commits may share one flush to disk;
    /// each still gets a revision of its own, larger than all before. The returned revision is that of all
    /// written records. A write sees those before it in the same commit. To delete what is absent (and expected
    /// to be) is no change; without any write only the fence is checked, and the revision is that of the last
    /// commit. A dropped future may or may not have committed, wholly.
    ///
    /// # Errors
    /// `Fenced` before anything else is looked at; `Conflict` for the first record whose revision differs;
    /// `Unavailable` when the disk is full or fails: nothing is visible then, but after a crash the commit may
    /// turn out to have happened, so read before deciding anew.
    async fn commit(&self, fence: Fence, writes: Vec<Write>) -> Result<Revision, StoreError>;

    /// Writes in order, all or nothing, without waiting for the disk.
    ///
    /// # Behavior
    /// As [`commit`](Store::commit), but only the next durable commit makes it durable, and with it everything
    /// before. The end of the process takes nothing back; a loss of power may, from the last such write
    /// backwards. For what can be found out again. A store is free to be stronger.
    async fn commit_ordered(&self, fence: Fence, writes: Vec<Write>) -> Result<Revision, StoreError> {
        self.commit(fence, writes).await
    }

    /// Changes of a kind committed after this call returned, in order.
    ///
    /// # Behavior
    /// A change is durable before it is told, and told before its `commit` returns. After `Lagged` the stream
    /// goes on; what was missed is in the next `list`, and a change may be told that this list already shows.
    async fn watch(&self, kind: Kind) -> Result<BoxStream<'static, Change>, StoreError>;

    /// Letters between the processes that share the store; `None`: it is of one process.
    fn post(&self) -> Option<&dyn Post> {
        None
    }
}

/// A letter, its answer and the mark that it was opened are entries of these kinds, all under the letter's id.
pub const LETTER: Kind = "letter";
pub const ANSWER: Kind = "answer";
pub const OPENED: Kind = "opened";

/// Letters to the holder of the lease, from the others who share the store.
///
/// # Behavior
/// `list`, `find` and `watch` of the store show letters, marks and answers. All of them go soon after their sender has
/// died. What only the holder of the lease may do is refused with `Fenced` to anybody else, as a commit is.
#[async_trait]
pub trait Post: Send + Sync {
    /// Who holds the lease now, for those who do not ask for it.
    async fn leader(&self) -> Result<Option<String>, StoreError>;

    /// That of a moment after the call: all that was acknowledged before has it or a lower one.
    async fn revision(&self) -> Result<Revision, StoreError>;

    /// Leaves a letter.
    async fn send(&self, id: &str, letter: Arc<[u8]>) -> Result<(), StoreError>;

    /// The holder of the lease marks a letter, durably, before it does what must not be done twice.
    async fn open(&self, fence: Fence, id: &str) -> Result<(), StoreError>;

    /// The holder of the lease puts the answer in the letter's place; nothing happens if the letter is gone.
    async fn answer(&self, fence: Fence, id: &str, answer: Arc<[u8]>) -> Result<(), StoreError>;

    /// The sender takes back all that there is of a letter. Idempotent.
    async fn withdraw(&self, id: &str) -> Result<(), StoreError>;

    /// Takes a name for this process while it lives.
    ///
    /// # Behavior
    /// The same owner gets it again at once; another one when the former has been dead for a while.
    ///
    /// # Errors
    /// `Held` names the owner.
    async fn claim(&self, name: &str, owner: &str) -> Result<(), StoreError>;
}

impl Key {
    pub fn new(kind: Kind, id: impl AsRef<str>) -> Key {
        Key { kind, id: id.as_ref().into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind, self.id)
    }
}
