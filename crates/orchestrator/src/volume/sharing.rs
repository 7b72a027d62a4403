//! Several hosts, each with its own records, over one backend: the backend is the truth.

use std::sync::Arc;

use model::{NodeName, Owner, VolumeId, VolumeState};

use crate::admission::Queue;
use crate::backend::Backend;
use crate::orchestrator::Inner;
use crate::record::Goal;
use crate::request::Request;
use crate::running::Operation;
use crate::{Error, ErrorKind, Result};

impl Inner {
    /// This node, where other hosts with other records share the backends.
    pub(crate) fn own(&self) -> Option<&NodeName> {
        self.settings.sharing.then_some(&self.settings.node.name)
    }

    /// Learns what other hosts have done with the volume that a request is about, as far as it matters.
    pub(crate) async fn catch_up_for(&self, request: &Request, operation: &Operation) -> Result<()> {
        let with_snapshots = match request {
            Request::Create(_)
            | Request::Grow { .. }
            | Request::Modify { .. }
            | Request::Publish { .. }
            | Request::Fence { .. } => false,
            Request::Delete { .. }
            | Request::Take { .. }
            | Request::DeleteSnapshot { .. }
            | Request::Restore { .. }
            | Request::Find { .. } => true,
            Request::Import(_)
            | Request::Adopt { .. }
            | Request::Forget { .. }
            | Request::Unpublish { .. }
            | Request::MarkStaged { .. }
            | Request::TakeGroup { .. }
            | Request::DeleteGroup { .. }
            | Request::Reconcile { .. } => return Ok(()),
        };
        self.catch_up(request.volume(), with_snapshots, operation).await
    }

    /// # Behavior
    /// A volume that another host has made gets its record, one that another host has deleted loses it. The caller
    /// holds the volume's lock.
    ///
    /// # Errors
    /// A backend that may have the volume does not answer, or two have one of this name.
    pub(crate) async fn catch_up(
        &self,
        id: &VolumeId,
        with_snapshots: bool,
        operation: &Operation,
    ) -> Result<()> {
        /// Others may delete it, and make it anew, while we look.
        const LOOKS: usize = 5;
        if self.own().is_none() {
            return Ok(());
        }
        for _ in 1..LOOKS {
            match self.catch_up_once(id, with_snapshots, operation).await {
                Err(error) if error.kind == ErrorKind::NotFound => {}
                done => return done,
            }
        }
        self.catch_up_once(id, with_snapshots, operation).await
    }

    /// # Errors
    /// `NotFound`: what was there when we began is gone.
    async fn catch_up_once(&self, id: &VolumeId, with_snapshots: bool, operation: &Operation) -> Result<()> {
        if let Some(record) = self.writer.catalogue().volume(id) {
            // What was begun here goes on first.
            if !record.settled || record.goal == Goal::Gone {
                return Ok(());
            }
            let is_here = record.is_held() || self.drive_once(id, operation).await?.record.is_some();
            if is_here {
                return if with_snapshots { self.adopt_snapshots(id).await } else { Ok(()) };
            }
        }
        match self.seek(id).await? {
            Some((backend, seen)) => self.adopt_seen(id, &backend, &seen, operation).await.map(drop),
            None => Ok(()),
        }
    }

    /// Whether a second volume of this name could come to be by making one.
    pub(super) async fn may_be_elsewhere(&self, id: &VolumeId) -> bool {
        self.own().is_some() && !matches!(self.seek(id).await, Ok(None))
    }

    async fn seek(&self, id: &VolumeId) -> Result<Option<(Arc<Backend>, VolumeState)>> {
        let backends = self.backends.all();
        let asked = backends.values().map(async |backend| {
            let driver = backend.driver(self.settings.periods.opening).await?;
            // A name that it cannot have it does not have.
            let Ok(handle) = driver.handle(id) else { return Ok(None) };
            let seen = backend.call(Queue::Read, "observe volume", driver.observe(&handle)).await?;
            // What is half made is its maker's business.
            let is_it = |seen: &VolumeState| {
                seen.owner == Owner::Ours && seen.volume.as_ref() == Some(id) && seen.complete
            };
            Ok::<_, Error>(seen.filter(is_it).map(|seen| (backend.clone(), seen)))
        });
        let mut found = Vec::new();
        let mut silent = None;
        for answer in futures::future::join_all(asked).await {
            match answer {
                Ok(seen) => found.extend(seen),
                Err(error) => silent = Some(error),
            }
        }
        match (found.len(), silent) {
            (0, Some(error)) => Err(error),
            (0 | 1, _) => Ok(found.pop()),
            (_, _) => {
                let places: Vec<&str> = found.iter().map(|(backend, _)| backend.name.as_str()).collect();
                let message = format!("volume `{id}` exists on several backends: {}", places.join(", "));
                Err(Error::new(ErrorKind::Conflict, message)
                    .hint("`leister adopt` the right one on each host, and delete the other on its backend"))
            }
        }
    }
}
