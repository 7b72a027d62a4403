//! Many requests in one transaction, each with a result of its own.

use std::path::Path;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::explain;
use super::records::{self, Head};
use crate::{Change, Entry, Fence, Revision, StoreError, Write};

/// A request and where its answer goes: a revision after a commit, a fence after an acquire.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) reply: oneshot::Sender<Result<u64, StoreError>>,
}

pub(super) enum Request {
    Acquire(String),
    Renew(Fence),
    Release(Fence),
    Commit(Fence, Vec<Write>),
    /// The same without a flush of its own.
    CommitOrdered(Fence, Vec<Write>),
}

/// What a request that was not refused leads to, once the transaction is on disk.
pub(super) struct Done {
    pub(super) number: u64,
    pub(super) changes: Vec<Change>,
}

/// What requests are checked against; each sees what those before it in the batch have done.
pub(super) struct Turn<'a> {
    pub(super) path: &'a Path,
    pub(super) connection: &'a Connection,
    pub(super) head: Head,
    pub(super) holder: Option<String>,
}

impl Turn<'_> {
    /// Does one request inside the open transaction.
    ///
    /// # Errors
    /// The outer error means that the whole transaction is lost; the inner one refuses this request alone and
    /// leaves no trace of it.
    pub(super) fn take(&mut self, request: &Request) -> rusqlite::Result<Result<Done, StoreError>> {
        match request {
            Request::Acquire(holder) => Ok(self.acquire(holder).map(Done::number)),
            Request::Renew(fence) => Ok(self.check(*fence).map(|()| Done::number(fence.0))),
            Request::Release(fence) => {
                self.release(*fence);
                Ok(Ok(Done::number(fence.0)))
            }
            Request::Commit(fence, writes) | Request::CommitOrdered(fence, writes) => {
                match self.check(*fence) {
                    Ok(()) => self.commit(writes),
                    Err(fenced) => Ok(Err(fenced)),
                }
            }
        }
    }

    fn acquire(&mut self, holder: &str) -> Result<u64, StoreError> {
        if let Some(current) = self.holder.as_ref().filter(|current| *current != holder) {
            return Err(StoreError::Held { holder: current.clone() });
        }
        self.head.fence += 1;
        self.holder = Some(holder.to_owned());
        Ok(self.head.fence)
    }

    fn release(&mut self, presented: Fence) {
        if self.check(presented).is_ok() && self.holder.take().is_some() {
            // So that the number handed out last is stale at once.
            self.head.fence += 1;
        }
    }

    fn check(&self, presented: Fence) -> Result<(), StoreError> {
        let current = Fence(self.head.fence);
        if presented == current { Ok(()) } else { Err(StoreError::Fenced { presented, current }) }
    }

    fn commit(&mut self, writes: &[Write]) -> rusqlite::Result<Result<Done, StoreError>> {
        if writes.is_empty() {
            return Ok(Ok(Done::number(self.head.revision)));
        }
        let revision = Revision(self.head.revision + 1);
        run(self.connection, "SAVEPOINT one")?;
        let refusal = match write_all(self.connection, writes, revision) {
            Ok(Ok(changes)) => {
                run(self.connection, "RELEASE one")?;
                self.head.revision = revision.0;
                return Ok(Ok(Done { number: revision.0, changes }));
            }
            Ok(Err(conflict)) => conflict,
            // After some failures SQLite gives up the transaction; else only this commit is at fault.
            Err(error) if self.connection.is_autocommit() => return Err(error),
            Err(error) => explain(self.path, "commit", error),
        };
        run(self.connection, "ROLLBACK TO one")?;
        run(self.connection, "RELEASE one")?;
        Ok(Err(refusal))
    }
}

impl Done {
    fn number(number: u64) -> Done {
        Done { number, changes: Vec::new() }
    }
}

pub(super) fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}

fn write_all(
    connection: &Connection,
    writes: &[Write],
    revision: Revision,
) -> rusqlite::Result<Result<Vec<Change>, StoreError>> {
    let mut changes = Vec::with_capacity(writes.len());
    for Write { key, expected, value } in writes {
        let found = records::find_revision(connection, key)?;
        if found != *expected {
            return Ok(Err(StoreError::Conflict { key: key.clone(), expected: *expected, found }));
        }
        match value {
            Some(value) => {
                records::put(connection, key, revision, value)?;
                changes.push(Change::Put(Entry { key: key.clone(), value: value.clone(), revision }));
            }
            None if found.is_some() => {
                records::delete(connection, key)?;
                changes.push(Change::Deleted(key.clone(), revision));
            }
            None => {}
        }
    }
    Ok(Ok(changes))
}
