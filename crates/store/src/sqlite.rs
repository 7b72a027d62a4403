//! A store in one SQLite file, for one process at a time.

mod batch;
mod lock;
mod readers;
mod records;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::sync::{mpsc, oneshot};

use self::batch::{Job, Request};
use self::lock::ProcessLock;
use self::readers::Readers;
use self::writer::Writer;
use crate::feed::Feed;
use crate::{Change, Entry, Fence, Key, Kind, Lease, Revision, Store, StoreError, Write};

/// Jobs that may wait for the writer before callers are held back.
const QUEUE: usize = 4096;

/// Records in a SQLite file in WAL mode.
///
/// # Behavior
/// One thread writes. It puts all commits that wait into one transaction and so into one flush to disk; each
/// keeps its own checks, its own revision and its own result. Readers have connections of their own and never
/// wait for it. Dropping the store writes what is queued, folds the log into the file and lets the next
/// instance in; it blocks meanwhile (milliseconds).
pub struct SqliteStore {
    path: PathBuf,
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    readers: Readers,
    feed: Arc<Feed>,
}

impl SqliteStore {
    /// Opens the file, or creates it (mode 0600, and its folder with 0700) when there is none.
    ///
    /// # Behavior
    /// Reads the whole file to prove it sound; blocks meanwhile (0.3 s for 100,000 records). Beside
    /// the file live `-wal` and `-shm`, which belong to it, and `.lock`, which names the process that has it.
    ///
    /// # Errors
    /// `Held` by another process or another instance in this one; `Damaged` when the file is not what this
    /// program wrote, or a newer one did: nothing is changed then; `Unavailable` when the disk or the
    /// permissions refuse.
    pub fn open(path: &Path) -> Result<SqliteStore, StoreError> {
        schema::make_folder(path)?;
        let lock = ProcessLock::take(path)?;
        let connection = schema::open_or_create(path)?;
        let feed = Arc::new(Feed::new(crate::feed::CAPACITY));
        let (jobs, queue) = mpsc::channel(QUEUE);
        let writer = Writer::new(path, connection, lock, Arc::clone(&feed));
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|error| unavailable("start the writer", error))?;
        Ok(SqliteStore {
            path: path.to_owned(),
            jobs: Some(jobs),
            writer: Some(writer),
            readers: Readers::new(path),
            feed,
        })
    }

    async fn ask(&self, operation: &'static str, request: Request) -> Result<u64, StoreError> {
        let (reply, answer) = oneshot::channel();
        let gone = || unavailable(operation, "the writer has stopped");
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(Job { request, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.jobs = None;
        self.readers.close();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!(path = %self.path.display(), "the store's writer had panicked");
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.path).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn acquire(&self, holder: &str) -> Result<Lease, StoreError> {
        let fence = self.ask("acquire the lease", Request::Acquire(holder.to_owned())).await?;
        Ok(Lease { holder: holder.to_owned(), fence: Fence(fence), expires_in: None })
    }

    async fn renew(&self, lease: &Lease) -> Result<(), StoreError> {
        self.ask("renew the lease", Request::Renew(lease.fence)).await.map(drop)
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.ask("release the lease", Request::Release(lease.fence)).await.map(drop)
    }

    async fn list(&self, kind: Kind) -> Result<Vec<Entry>, StoreError> {
        self.readers.read("list records", move |connection| records::list(connection, kind)).await
    }

    async fn find(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let key = key.clone();
        self.readers.read("find a record", move |connection| records::find(connection, &key)).await
    }

    async fn commit(&self, fence: Fence, writes: Vec<Write>) -> Result<Revision, StoreError> {
        self.ask("commit", Request::Commit(fence, writes)).await.map(Revision)
    }

    async fn commit_ordered(&self, fence: Fence, writes: Vec<Write>) -> Result<Revision, StoreError> {
        self.ask("commit", Request::CommitOrdered(fence, writes)).await.map(Revision)
    }

    async fn watch(&self, kind: Kind) -> Result<BoxStream<'static, Change>, StoreError> {
        Ok(self.feed.watch(kind))
    }
}

fn unavailable(
    operation: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Unavailable { operation, source: source.into() }
}

fn damaged(path: &Path, problem: impl Into<String>) -> StoreError {
    let file = path.display();
    StoreError::Damaged {
        place: file.to_string(),
        problem: problem.into(),
        advice: format!(
            "restore `{file}` together with `{file}-wal` from a backup, or move both aside to start an empty store"
        ),
    }
}

/// Says what a failure of SQLite means to the caller.
fn explain(path: &Path, operation: &'static str, error: impl Into<Arc<rusqlite::Error>>) -> StoreError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let error = error.into();
    match error.sqlite_error_code() {
        Some(NotADatabase) => damaged(path, "it is not a SQLite database"),
        Some(DatabaseCorrupt) => damaged(path, error.to_string()),
        Some(_) => unavailable(operation, error),
        // SQLite was content, but what it found is not of the type that was written.
        None => damaged(path, error.to_string()),
    }
}
