//! The catalogue of an instance that does not lead: what the store tells.

use std::convert::Infallible;
use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use store::{ANSWER, Change, Entry};

use super::Writer;
use super::codec::{KINDS, decode, removal_of};
use crate::catalogue::Catalogue;
use crate::leadership::Role;
use crate::{Error, ErrorKind, Result};

impl Writer {
    /// Keeps the catalogue as the records are, and hands answers to letters on. Ends only with an error.
    pub(crate) async fn follow(&self, answered: impl Fn(&Entry)) -> Result<Infallible> {
        loop {
            let mut streams = Vec::new();
            for kind in KINDS.into_iter().chain([ANSWER]) {
                streams.push(self.store.watch(kind).await?);
            }
            let mut changes = futures::stream::select_all(streams);
            let since = self.read_all_since().await?;
            while let Some(change) = changes.next().await {
                let mut some = vec![change];
                // What is told together is shown together: then it is as the store was at one moment.
                while let Some(Some(more)) = changes.next().now_or_never() {
                    some.push(more);
                }
                if some.contains(&Change::Lagged) {
                    tracing::info!("the store could not tell all changes; reading the records again");
                    break;
                }
                self.take_up(&some, since, &answered)?;
            }
        }
    }

    pub(super) async fn read_all(&self) -> Result<()> {
        self.read_all_since().await.map(drop)
    }

    /// Waits until the catalogue shows what the store had at this revision.
    ///
    /// # Errors
    /// It does not come within a while: what is known here may be old.
    pub(crate) async fn reach(&self, revision: u64) -> Result<()> {
        const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
        let mut seen = self.seen.subscribe();
        let reached = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| *seen >= revision)).await;
        reached.map(drop).map_err(|_| {
            Error::new(
                ErrorKind::Unreachable,
                "it is done, but the store has not told this instance of it yet",
            )
            .hint("look at it, and ask again")
        })
    }

    async fn read_all_since(&self) -> Result<u64> {
        let since = match self.store.post() {
            Some(post) => post.revision().await?.0,
            None => 0,
        };
        let catalogue = Arc::new(self.load().await?.0);
        if self.alter(|| self.catalogue.store(catalogue.clone())) {
            self.seen.send_replace(since);
        }
        Ok(since)
    }

    fn take_up(&self, changes: &[Change], since: u64, answered: &impl Fn(&Entry)) -> Result<()> {
        let mut edits = Vec::new();
        let mut latest = since;
        for change in changes {
            let (key, revision) = match change {
                Change::Put(entry) => (&entry.key, entry.revision),
                Change::Deleted(key, revision) => (key, *revision),
                Change::Lagged => continue,
            };
            if key.kind == ANSWER {
                if let Change::Put(entry) = change {
                    answered(entry);
                }
            } else if revision.0 > since {
                let edit = match change {
                    Change::Put(entry) => Some(decode(entry)?),
                    _ => removal_of(key),
                };
                edits.extend(edit.map(|edit| (edit, revision)));
                latest = latest.max(revision.0);
            }
        }
        let shown = self.alter(|| {
            let mut next = Catalogue::clone(&self.catalogue.load());
            for (edit, revision) in &edits {
                next.apply(edit, *revision);
            }
            self.catalogue.store(Arc::new(next));
        });
        if shown {
            self.seen.send_if_modified(|seen| {
                let is_new = latest > *seen;
                *seen = latest.max(*seen);
                is_new
            });
        }
        Ok(())
    }

    /// Changes the catalogue unless this instance has come to lead: then its own commits do.
    fn alter(&self, change: impl FnOnce()) -> bool {
        let role = self.role.borrow();
        let follows = matches!(&*role, Role::Follows { .. });
        if follows {
            change();
        }
        follows
    }
}
