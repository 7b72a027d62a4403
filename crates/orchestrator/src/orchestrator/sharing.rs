//! What other hosts have made on backends that are shared with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use model::{NodeName, Owner, VolumeId};
use tokio::time::Instant;

use super::Orchestrator;
use crate::admission::Queue;
use crate::catalogue::Catalogue;
use crate::record::VolumeRecord;
use crate::request::{Answer, Request};
use crate::{Error, ErrorKind, Result};

/// Volumes of which the records of this host say too little or too much.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere {
    /// Without a record here, with the time at which they were made.
    pub unknown: BTreeMap<VolumeId, Option<Timestamp>>,
    /// With a record here, but deleted by another host.
    pub deleted: BTreeSet<VolumeId>,
}

/// The latest lists of all backends.
#[derive(Debug, Default)]
pub(crate) struct Tagged(ArcSwapOption<(Instant, Elsewhere)>);

/// How long a list is good enough.
const FRESH: Duration = Duration::from_secs(2);

impl Orchestrator {
    /// The volume, also if another host that shares the backends has made it; a record that is not the truth any more
    /// is none.
    ///
    /// # Errors
    /// It is not known here, and a backend that may have it does not answer within the limit.
    pub async fn find(&self, id: &VolumeId, limit: Duration) -> Result<Option<Arc<VolumeRecord>>> {
        let known = self.catalogue().volume(id);
        if self.inner.own().is_none() || known.as_ref().is_some_and(|record| record.is_held()) {
            return Ok(known);
        }
        let looking = self.run_patiently(Request::Find { volume: id.clone() }, limit);
        match (looking.await.and_then(Answer::volume), known) {
            (Ok(record), _) => Ok(Some(record)),
            (Err(error), _) if error.kind == ErrorKind::NotFound => Ok(None),
            (Err(_), Some(record)) => Ok(Some(record)),
            (Err(error), None) => Err(error),
        }
    }

    /// What other hosts have made and deleted: one list call a backend, and none for a short while after.
    ///
    /// # Behavior
    /// A backend that does not answer within the limit changes nothing.
    pub async fn elsewhere(&self, limit: Duration) -> Elsewhere {
        if self.inner.own().is_none() {
            return Elsewhere::default();
        }
        let latest = self.inner.tagged.0.load_full();
        if let Some(latest) = latest.as_ref().filter(|latest| latest.0.elapsed() < FRESH) {
            return self.still(latest.1.clone());
        }
        // Records first: what is made while a backend answers is then not taken for deleted.
        let catalogue = self.catalogue();
        match tokio::time::timeout(limit, self.compare_all(&catalogue)).await {
            Ok(elsewhere) => {
                self.inner.tagged.0.store(Some(Arc::new((Instant::now(), elsewhere.clone()))));
                self.still(elsewhere)
            }
            Err(_) => latest.map_or_else(Elsewhere::default, |latest| self.still(latest.1.clone())),
        }
    }

    /// The volumes that a node may reach: those published to it here, and those that shared backends permit to it.
    ///
    /// # Errors
    /// `NotFound` for a node that nobody knows. A shared backend that does not answer: it may permit more.
    pub async fn volumes_of(&self, node: &NodeName) -> Result<BTreeSet<VolumeId>> {
        let catalogue = self.catalogue();
        let published = catalogue.volumes().filter(|record| record.published.contains_key(node));
        let mut volumes: BTreeSet<VolumeId> = published.map(|record| record.id.clone()).collect();
        if self.inner.own().is_some() {
            let backends = self.inner.backends.all();
            let listed = backends.values().map(async |backend| {
                let driver = backend.driver(self.settings().periods.opening).await?;
                let listed = backend.call(Queue::Read, "list volumes", driver.list()).await?;
                Ok::<_, Error>(listed)
            });
            for seen in futures::future::try_join_all(listed).await?.into_iter().flatten() {
                if seen.owner == Owner::Ours && seen.permitted.contains(node) {
                    volumes.extend(seen.volume);
                }
            }
        }
        if volumes.is_empty() && catalogue.node(node).is_none() {
            return Err(Error::not_found("node", node).hint("see `leister get nodes`"));
        }
        Ok(volumes)
    }

    async fn compare_all(&self, catalogue: &Catalogue) -> Elsewhere {
        let backends = self.inner.backends.all();
        let listed = backends.values().map(async |backend| {
            let driver = backend.driver(self.settings().periods.opening).await.ok()?;
            let listed = backend.call(Queue::Read, "list volumes", driver.list()).await.ok()?;
            Some((&backend.name, listed))
        });
        let mut elsewhere = Elsewhere::default();
        for (backend, listed) in futures::future::join_all(listed).await.into_iter().flatten() {
            let there: BTreeSet<&model::Handle> = listed.iter().map(|seen| &seen.handle).collect();
            let vanished = catalogue.volumes().filter(|record| {
                record.backend == *backend
                    && record.settled
                    && !record.is_held()
                    && !there.contains(&record.handle)
            });
            elsewhere.deleted.extend(vanished.map(|record| record.id.clone()));
            elsewhere
                .unknown
                .extend(listed.iter().filter_map(|seen| Some((seen.volume.clone()?, seen.created))));
        }
        elsewhere
    }

    /// Without what has got its record since.
    fn still(&self, mut elsewhere: Elsewhere) -> Elsewhere {
        let catalogue = self.catalogue();
        elsewhere.unknown.retain(|id, _| catalogue.volume(id).is_none());
        elsewhere.deleted.retain(|id| catalogue.volume(id).is_some_and(|record| !record.is_held()));
        elsewhere
    }
}
