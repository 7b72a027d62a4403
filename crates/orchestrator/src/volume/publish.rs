use jiff::Timestamp;
use model::{NodeName, VolumeId};

use crate::orchestrator::Inner;
use crate::record::{Goal, Publication};
use crate::request::Answer;
use crate::running::Operation;
use crate::volume::fence::{fenced, in_use};
use crate::{Error, ErrorKind, Result};

/// How a node shall reach a volume; as [`Request::Publish`](crate::Request::Publish) has it.
pub(crate) struct Wish {
    pub(crate) read_only: bool,
    pub(crate) force: bool,
    pub(crate) kept: bool,
}

impl Inner {
    /// Lets one node reach the volume.
    pub(crate) async fn publish(
        &self,
        id: &VolumeId,
        node: &NodeName,
        wish: Wish,
        operation: &Operation,
    ) -> Result<Answer> {
        let Wish { read_only, force, kept } = wish;
        let mut record = self.existing(id)?;
        if self.writer.catalogue().node(node).is_none() {
            return Err(Error::not_found("node", node).hint("see `leister get nodes`"));
        }
        if let Some(fenced) = fenced(&record, node) {
            return Err(fenced);
        }
        if !record.spec.access.is_shared() {
            if force {
                record = self.fence_others(record, node, operation).await?;
            }
            if let Some(other) = record.publications().find(|other| *other != node) {
                return Err(in_use(&record, other));
            }
        }
        let before = record.published.get(node).cloned();
        let wanted = Publication {
            goal: Goal::Exist,
            read_only,
            since: before.as_ref().and_then(|before| before.since).or_else(|| Some(Timestamp::now())),
            held: before.as_ref().is_some_and(|before| before.held),
            kept: kept || record.publication(node).is_some_and(|before| before.kept),
        };
        if before.as_ref().is_some_and(|before| before.goal == Goal::Exist && before.read_only != read_only) {
            let message =
                format!("volume `{id}` is published to node `{node}` with another read-only setting");
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        self.edit(&record, |record| {
            record.published.insert(node.clone(), wanted);
        })
        .await?;
        let reached = async {
            let mut driven = self.drive(id, operation).await?;
            if let Some(fenced) = driven.record.as_ref().and_then(|record| fenced(record, node)) {
                return Err(fenced);
            }
            match (driven.routes.remove(node), driven.record) {
                (Some(route), _) => Ok(route),
                (None, Some(record)) => self.route(record, node, operation).await,
                (None, None) => Err(Error::not_found("volume", id)),
            }
        };
        match reached.await {
            Ok(route) => Ok(Answer::Route(route)),
            Err(error) => {
                if before.is_none_or(|before| before.goal == Goal::Gone) {
                    // The caller is told that it failed and will not unpublish.
                    if let Err(error) = self.unpublish(id, node, operation).await {
                        tracing::info!(volume = %id, error = error.sentence(), "taking the permit back goes on");
                    }
                }
                Err(error)
            }
        }
    }

    pub(crate) async fn unpublish(
        &self,
        id: &VolumeId,
        node: &NodeName,
        operation: &Operation,
    ) -> Result<Answer> {
        let Some(record) = self.writer.catalogue().volume(id) else { return Ok(Answer::Gone) };
        let was_published = record.published.contains_key(node);
        if was_published || record.fenced.contains_key(node) {
            self.edit(&record, |record| {
                record.fenced.remove(node);
                if let Some(publication) = record.published.get_mut(node) {
                    publication.goal = Goal::Gone;
                }
            })
            .await?;
        }
        if was_published {
            self.drive(id, operation).await?;
        }
        Ok(Answer::Gone)
    }

    /// The backend first: what the record says is then never more than what other hosts can see.
    pub(crate) async fn mark_staged(&self, id: &VolumeId, operation: &Operation) -> Result<Answer> {
        let record = self.existing(id)?;
        if !record.staged {
            self.mark_on_backend(record.clone(), operation).await?;
        }
        Ok(Answer::Volume(self.edit(&record, |record| record.staged = true).await?))
    }
}
