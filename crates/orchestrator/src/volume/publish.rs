use model::{NodeName, VolumeId};

use crate::orchestrator::Inner;
use crate::record::{Goal, Publication};
use crate::request::Answer;
use crate::running::Operation;
use crate::{Error, ErrorKind, Result};

impl Inner {
    /// Lets one node reach the volume.
    pub(crate) async fn publish(
        &self,
        id: &VolumeId,
        node: &NodeName,
        read_only: bool,
        operation: &Operation,
    ) -> Result<Answer> {
        let record = self.existing(id)?;
        if self.writer.catalogue().node(node).is_none() {
            return Err(Error::not_found("node", node).hint("see `leister get nodes`"));
        }
        if let Some(other) = record.published.keys().find(|other| *other != node)
            && !record.spec.access.is_shared()
        {
            let message = format!("volume `{id}` ({}) is in use on node `{other}`", record.spec.access);
            return Err(Error::new(ErrorKind::InUse, message).hint("stop what uses it there first"));
        }
        let before = record.published.get(node).cloned();
        let wanted = Publication { goal: Goal::Exist, read_only };
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
        if record.published.contains_key(node) {
            self.edit(&record, |record| {
                if let Some(publication) = record.published.get_mut(node) {
                    publication.goal = Goal::Gone;
                }
            })
            .await?;
            self.drive(id, operation).await?;
        }
        Ok(Answer::Gone)
    }

    pub(crate) async fn mark_staged(&self, id: &VolumeId) -> Result<Answer> {
        let record = self.existing(id)?;
        Ok(Answer::Volume(self.edit(&record, |record| record.staged = true).await?))
    }
}
