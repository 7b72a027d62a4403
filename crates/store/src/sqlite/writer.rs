//! The thread that writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::mpsc;

use super::batch::{Done, Job, Request, Turn, run};
use super::explain;
use super::lock::ProcessLock;
use super::records;
use crate::StoreError;
use crate::feed::Feed;

/// Jobs in one transaction; bounds how long the first of them waits for the last.
const BATCH: usize = 512;

/// Pages (4 KiB) in the log at which they are copied into the file: few enough for a short stall, enough that
/// pages written many times are copied once.
const LOG_PAGES: i64 = 4096;

pub(super) struct Writer {
    path: PathBuf,
    connection: Connection,
    lock: ProcessLock,
    feed: Arc<Feed>,
    holder: Option<String>,
    is_checkpoint_failing: bool,
}

impl Writer {
    pub(super) fn new(path: &Path, connection: Connection, lock: ProcessLock, feed: Arc<Feed>) -> Writer {
        let path = path.to_owned();
        Writer { path, connection, lock, feed, holder: None, is_checkpoint_failing: false }
    }

    /// Serves until all senders are gone and the queue is empty, then closes the file.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::new();
        while queue.blocking_recv_many(&mut jobs, BATCH) > 0 {
            self.settle(std::mem::take(&mut jobs));
            self.checkpoint(LOG_PAGES, "PRAGMA wal_checkpoint(PASSIVE)");
        }
        self.checkpoint(0, "PRAGMA wal_checkpoint(TRUNCATE)");
        let Writer { connection, lock, .. } = self;
        if let Err((_, error)) = connection.close() {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store was not closed well");
        }
        // Only now may another process open the file.
        drop(lock);
    }

    /// Answers after the transaction is on disk, never before.
    fn settle(&mut self, jobs: Vec<Job>) {
        match self.transact(&jobs) {
            Ok(results) => {
                for (job, result) in jobs.into_iter().zip(results) {
                    let answer = result.map(|done| {
                        self.feed.tell(done.changes);
                        done.number
                    });
                    // A caller that has gone away does not want to know.
                    let _ = job.reply.send(answer);
                }
            }
            Err(error) => {
                if !self.connection.is_autocommit()
                    && let Err(error) = run(&self.connection, "ROLLBACK")
                {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot roll back");
                }
                let error = Arc::new(error);
                for job in jobs {
                    let _ =
                        job.reply.send(Err(explain(&self.path, operation(&job.request), Arc::clone(&error))));
                }
            }
        }
    }

    fn transact(&mut self, jobs: &[Job]) -> rusqlite::Result<Vec<Result<Done, StoreError>>> {
        // With NORMAL the log is written but not flushed; the next flush takes it along.
        let can_wait = jobs.iter().all(|job| matches!(job.request, Request::CommitOrdered(..)));
        run(
            &self.connection,
            if can_wait { "PRAGMA synchronous=NORMAL" } else { "PRAGMA synchronous=FULL" },
        )?;
        run(&self.connection, "BEGIN IMMEDIATE")?;
        // Read anew each time: should a second process have got past the lock file, its fence is seen here.
        let before = records::read_head(&self.connection)?;
        let mut turn = Turn {
            path: &self.path,
            connection: &self.connection,
            head: before,
            holder: self.holder.clone(),
        };
        let results = jobs.iter().map(|job| turn.take(&job.request)).collect::<rusqlite::Result<Vec<_>>>()?;
        let Turn { head, holder, .. } = turn;
        if head != before {
            records::write_head(&self.connection, head)?;
        }
        run(&self.connection, "COMMIT")?;
        if holder != self.holder {
            self.holder = holder;
            self.lock.describe(self.holder.as_deref());
        }
        Ok(results)
    }

    /// Not SQLite's own automatic one: that would make a durable commit fail when only the copying failed.
    fn checkpoint(&mut self, at_least: i64, how: &str) {
        let copied = log_pages(&self.connection, "PRAGMA wal_checkpoint(NOOP)")
            .and_then(|pages| if pages >= at_least { log_pages(&self.connection, how) } else { Ok(pages) });
        if let Err(error) = &copied
            && !self.is_checkpoint_failing
        {
            tracing::warn!(
                path = %self.path.display(),
                error = error as &dyn std::error::Error,
                "cannot fold the store's log into its file; nothing is lost, but the log grows"
            );
        }
        self.is_checkpoint_failing = copied.is_err();
    }
}

/// Runs a checkpoint and returns how many pages of the log were not in the file after it.
fn log_pages(connection: &Connection, checkpoint: &str) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(checkpoint)?
        .query_row([], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
}

fn operation(request: &Request) -> &'static str {
    match request {
        Request::Acquire(_) => "acquire the lease",
        Request::Renew(_) => "renew the lease",
        Request::Release(_) => "release the lease",
        Request::Commit(..) | Request::CommitOrdered(..) => "commit",
    }
}
