//! Takes up what the cluster says has changed, and hands it to the watchers of this process.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use http::Method;
use kube::core::WatchEvent;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::{Call, Client, PATIENCE, PAUSE};
use super::object::{Content, List, Object, number};
use super::own::Own;
use super::post::{self, Letter};
use super::{Definition, LETTERS};
use crate::feed::Feed;
use crate::{Change, Key, Kind, Revision, StoreError};

/// Changes a watcher may be behind: the cluster tells them one by one.
pub(super) const CAPACITY: usize = 512;
/// A watch that was cut may take this long to come back; nobody's commit waits longer for it.
const TELLING: Duration = Duration::from_secs(2);
/// An apiserver says each minute how far it is: one that is silent is gone.
const SILENCE: Duration = Duration::from_secs(150);

/// One for each resource that somebody watches.
pub(super) struct Feeders {
    client: Arc<Client>,
    kinds: Vec<Definition>,
    own: Arc<Own>,
    feed: Arc<Feed>,
    running: Mutex<HashMap<&'static str, Running>>,
}

struct Running {
    task: JoinHandle<()>,
    told: watch::Receiver<u64>,
}

struct Feeder {
    client: Arc<Client>,
    feed: Arc<Feed>,
    resource: &'static str,
    from: Option<u64>,
    is_behind: bool,
    progress: watch::Sender<u64>,
}

/// What an object of the resource says to watchers.
trait Source: DeserializeOwned + Clone + Send + 'static {
    fn version(&self) -> u64;
    fn changes(&self, is_removed: bool, kind: Option<&Definition>, own: &Own) -> Vec<Change>;
    /// With what it holds; `None`: nobody can read it.
    fn opened(
        self,
        is_removed: bool,
        client: &Client,
        resource: &str,
    ) -> impl Future<Output = Result<Option<Self>, StoreError>> + Send;
}

impl Feeders {
    pub(super) fn new(client: Arc<Client>, kinds: Vec<Definition>, own: Arc<Own>) -> Feeders {
        Feeders { client, kinds, own, feed: Arc::new(Feed::new(CAPACITY)), running: Mutex::default() }
    }

    /// Changes of a kind from a moment on that has passed when this returns.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub(super) async fn watch(
        &self,
        kind: Kind,
        resource: &'static str,
    ) -> Result<BoxStream<'static, Change>, StoreError> {
        let changes = self.feed.watch(kind);
        let mut told = self.told(resource);
        match tokio::time::timeout(PATIENCE, told.wait_for(|from| *from > 0)).await {
            Ok(Ok(_)) => Ok(changes),
            _ => Err(StoreError::Unavailable {
                operation: "watch records",
                source: format!("the watch of {resource} has not begun").into(),
            }),
        }
    }

    /// Returns when the watchers here have been told of the version, if there are any.
    pub(super) async fn wait(&self, resource: &str, version: u64) {
        let told = {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.get(resource).map(|running| running.told.clone())
        };
        if let Some(mut told) = told.filter(|_| self.feed.is_watched()) {
            let _ = tokio::time::timeout(TELLING, told.wait_for(|told| *told >= version)).await;
        }
    }

    fn told(&self, resource: &'static str) -> watch::Receiver<u64> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let running = running.entry(resource).or_insert_with(|| {
            let (progress, told) = watch::channel(0);
            let feeder = Feeder {
                client: self.client.clone(),
                feed: self.feed.clone(),
                resource,
                from: None,
                is_behind: false,
                progress,
            };
            let kind = self.kinds.iter().find(|kind| kind.plural == resource).copied();
            let own = self.own.clone();
            let task = match resource {
                LETTERS => tokio::spawn(feeder.run::<Letter>(None, own)),
                _ => tokio::spawn(feeder.run::<Object>(kind, own)),
            };
            Running { task, told }
        });
        running.told.clone()
    }
}

impl Drop for Feeders {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        running.values().for_each(|running| running.task.abort());
    }
}

impl Feeder {
    /// Watches for ever; after a cut it goes on behind what it saw last.
    async fn run<T: Source>(mut self, kind: Option<Definition>, own: Arc<Own>) {
        loop {
            if let Err(error) = self.follow::<T>(kind.as_ref(), &own).await {
                tracing::debug!(resource = self.resource, error, "the watch was cut; it is taken up again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn follow<T: Source>(&mut self, kind: Option<&Definition>, own: &Own) -> Result<(), String> {
        let from = match self.from {
            Some(from) => from,
            None => self.begin().await?,
        };
        let events = self.client.watch::<T>(self.resource, from).await;
        let mut events = events.map_err(|error| self.lost(&error))?;
        loop {
            let event = match tokio::time::timeout(SILENCE, events.next()).await {
                Ok(Some(Ok(event))) => event,
                Ok(Some(Err(error))) => return Err(self.lost(&error)),
                // The apiserver ends each watch after a while.
                Ok(None) => return Ok(()),
                Err(_) => return Err("nothing was heard of it".to_owned()),
            };
            let (object, is_removed) = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                WatchEvent::Deleted(object) => (object, true),
                WatchEvent::Bookmark(mark) => {
                    self.reach(number(&mark.metadata.resource_version));
                    continue;
                }
                WatchEvent::Error(status) => return Err(self.lost(&kube::Error::Api(status))),
            };
            let version = object.version();
            let opened = object.opened(is_removed, &self.client, self.resource).await;
            if let Some(object) = opened.map_err(|error| error.to_string())? {
                self.feed.tell(object.changes(is_removed, kind, own));
            }
            self.reach(version);
        }
    }

    /// Where a watch begins: now.
    async fn begin(&mut self) -> Result<u64, String> {
        let call = Call { query: "limit=1", ..Call::of("watch records", Method::GET, self.resource) };
        let list = self.client.once::<List<IgnoredAny>>(&call).await;
        let list = list.map_err(|failed| failed.into_error(call.operation).to_string())?;
        let from = number(&list.metadata.resource_version);
        self.reach(from);
        // Who lists at this word misses nothing: the watch begins behind what is now.
        if std::mem::take(&mut self.is_behind) {
            self.feed.tell([Change::Lagged]);
        }
        Ok(from)
    }

    /// What happened in between may not be known there any more.
    fn lost(&mut self, error: &kube::Error) -> String {
        if matches!(error, kube::Error::Api(status) if status.code == 410) {
            self.from = None;
            self.is_behind = true;
        }
        error.to_string()
    }

    fn reach(&mut self, version: u64) {
        self.from = Some(version);
        self.progress.send_replace(version);
    }
}

impl Source for Object {
    fn version(&self) -> u64 {
        Object::version(self)
    }

    fn changes(&self, is_removed: bool, kind: Option<&Definition>, own: &Own) -> Vec<Change> {
        let Some(kind) = kind.filter(|_| !self.is_to_come()) else { return Vec::new() };
        let change = match own.entry(kind, self) {
            Ok(Some(entry)) if is_removed => {
                // What was marked as gone has been told.
                (!self.gone).then(|| Change::Deleted(entry.key, Revision(Object::version(self))))
            }
            Ok(Some(entry)) if self.gone => Some(Change::Deleted(entry.key, entry.revision)),
            Ok(Some(entry)) => Some(Change::Put(entry)),
            Ok(None) => None,
            Err(error) => {
                tracing::error!(%error, "a change is not taken up");
                None
            }
        };
        change.into_iter().collect()
    }

    async fn opened(
        mut self,
        is_removed: bool,
        client: &Client,
        resource: &str,
    ) -> Result<Option<Self>, StoreError> {
        if is_removed {
            // Its Secret goes with it, and nobody asks for what it held.
            self.record = Content::of(b"");
        }
        client.opened(resource, self).await
    }
}

impl Source for Letter {
    fn version(&self) -> u64 {
        Letter::version(self)
    }

    fn changes(&self, is_removed: bool, _: Option<&Definition>, _: &Own) -> Vec<Change> {
        let revision = Revision(Letter::version(self));
        post::KINDS
            .into_iter()
            .filter_map(|kind| match self.entry(kind) {
                Some(entry) if !is_removed => Some(Change::Put(entry)),
                // An answer takes the letter's place.
                Some(_) => Some(Change::Deleted(Key::new(kind, &self.id), revision)),
                None if kind == crate::LETTER => Some(Change::Deleted(Key::new(kind, &self.id), revision)),
                None => None,
            })
            .collect()
    }

    async fn opened(self, _: bool, _: &Client, _: &str) -> Result<Option<Self>, StoreError> {
        Ok(Some(self))
    }
}

impl fmt::Debug for Feeders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feeders").finish_non_exhaustive()
    }
}
