//! Takes up what the cluster says has changed, and hands it to the watchers of this process.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::watch;

use super::client::Client;
use super::wire::{Event, WatchCreate};
use super::{end_of, entry, number, signed};
use crate::feed::Feed;
use crate::{Change, Key, Kind, Revision};

#[derive(Debug)]
pub(super) struct Feeder {
    client: Arc<Client>,
    feed: Arc<Feed>,
    kinds: Arc<Mutex<BTreeSet<Kind>>>,
    root: String,
    from: u64,
    is_behind: bool,
    progress: watch::Sender<u64>,
}

/// How far the watchers have been told.
#[derive(Debug)]
pub(super) struct Told(watch::Receiver<u64>);

/// A watch that was cut may take this long to come back; nobody's commit waits longer for it.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(200);

impl Feeder {
    pub(super) fn new(
        client: Arc<Client>,
        feed: Arc<Feed>,
        kinds: Arc<Mutex<BTreeSet<Kind>>>,
        root: String,
        from: u64,
    ) -> (Feeder, Told) {
        let (progress, told) = watch::channel(0);
        (Feeder { client, feed, kinds, root, from, is_behind: false, progress }, Told(told))
    }

    /// Watches for ever; after a cut it goes on behind what it saw last.
    pub(super) async fn run(mut self) {
        loop {
            if let Err(error) = self.follow().await {
                tracing::debug!(error, "the watch of etcd was cut; it is taken up again");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow(&mut self) -> Result<(), String> {
        let key = self.root.clone().into_bytes();
        let range = WatchCreate { range_end: end_of(&key), key, start_revision: signed(self.from) };
        let mut answers = self.client.watch(range).await.map_err(|e| e.to_string())?;
        while let Some(answer) = answers.next().await {
            let answer = answer.map_err(|e| e.to_string())?;
            if answer.canceled {
                if answer.compact_revision > 0 {
                    // What happened in between is no longer known there.
                    self.from = number(answer.compact_revision).max(self.from);
                    self.is_behind = true;
                }
                return Err("the server ended it".to_owned());
            }
            // Only now: who lists at this word misses nothing, for the new watch is there.
            if std::mem::take(&mut self.is_behind) {
                self.feed.tell([Change::Lagged]);
            }
            let changes = answer.events.iter().filter_map(|event| self.change(event));
            self.feed.tell(changes.collect::<Vec<_>>());
            if let Some(last) = answer.events.last().and_then(|event| event.kv.as_ref()) {
                self.from = number(last.mod_revision) + 1;
                self.progress.send_replace(self.from - 1);
            }
        }
        Ok(())
    }

    fn change(&self, event: &Event) -> Option<Change> {
        let kv = event.kv.as_ref()?;
        let path = kv.key.strip_prefix(self.root.as_bytes())?;
        let kind = path.split(|byte| *byte == b'/').next()?;
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = *kinds.iter().find(|known| known.as_bytes() == kind)?;
        let root = format!("{}{kind}/", self.root).into_bytes();
        let entry = entry(kind, &root, kv).ok()?;
        Some(match event.kind {
            0 => Change::Put(entry),
            _ => Change::Deleted(Key::clone(&entry.key), entry.revision),
        })
    }
}

impl Told {
    /// Returns when the watchers here have been told of the revision, if there are any.
    pub(super) async fn wait(&self, revision: Revision, feed: &Feed) {
        if feed.is_watched() {
            let mut told = self.0.clone();
            let _ = tokio::time::timeout(PATIENCE, told.wait_for(|told| *told >= revision.0)).await;
        }
    }
}
