//! Taking a volume from a node that cannot give it back.

use model::{NodeName, VolumeId};

use crate::orchestrator::Inner;
use crate::record::VolumeRecord;
use crate::request::Answer;
use crate::running::Operation;
use crate::{Error, ErrorKind, Result};

impl Inner {
    /// # Behavior
    /// When it is done the node can neither read nor write any more. The record keeps that the node may still have the
    /// volume mounted: it is given to it again only after it has let go.
    ///
    /// # Errors
    /// `NotFound` for a node that is neither known nor permitted.
    pub(crate) async fn fence(
        &self,
        id: &VolumeId,
        node: &NodeName,
        operation: &Operation,
    ) -> Result<Answer> {
        let record = self.volume(id)?;
        if record.published.contains_key(node) {
            self.edit(&record, |record| record.fence(node)).await?;
            tracing::warn!(volume = %id, %node, "the volume is taken from the node");
            self.drive(id, operation).await.map_err(|error| match error.kind {
                ErrorKind::Unreachable => error.hint("the node is fenced when the backend answers"),
                _ => error,
            })?;
            return Ok(Answer::Gone);
        }
        if self.look(&record).await?.is_some_and(|seen| seen.permitted.contains(node)) {
            tracing::warn!(volume = %id, %node, "the volume is taken from the node of another host");
            self.forbid_stray(record, node, operation).await?;
        } else if !record.fenced.contains_key(node) && self.writer.catalogue().node(node).is_none() {
            return Err(Error::not_found("node", node).hint("see `leister get nodes`"));
        }
        Ok(Answer::Gone)
    }

    /// Takes the volume from all nodes but this one.
    pub(super) async fn fence_others(
        &self,
        record: std::sync::Arc<VolumeRecord>,
        node: &NodeName,
        operation: &Operation,
    ) -> Result<std::sync::Arc<VolumeRecord>> {
        let others: Vec<NodeName> = record.published.keys().filter(|other| *other != node).cloned().collect();
        let record = self.edit(&record, |record| others.iter().for_each(|other| record.fence(other))).await?;
        if self.own().is_some() {
            let permitted = self.look(&record).await?.map(|seen| seen.permitted).unwrap_or_default();
            for other in permitted.iter().filter(|other| *other != node && !others.contains(other)) {
                self.forbid_stray(record.clone(), other, operation).await?;
            }
        }
        Ok(record)
    }
}

/// The refusal for what a node has, with the way to move it.
pub(crate) fn in_use(record: &VolumeRecord, node: &NodeName) -> Error {
    let since = record.published.get(node).and_then(|publication| publication.since);
    let since = since.map(|since| format!(" since {since:.0}")).unwrap_or_default();
    let message =
        format!("volume `{}` ({}) is in use on node `{node}`{since}", record.id, record.spec.access);
    Error::new(ErrorKind::InUse, message).hint(format!(
        "stop what uses it there; if that node is dead, `leister fence volume {} --node {node}` takes it away",
        record.id
    ))
}

/// The refusal for a node that has not let go yet of what was taken from it.
pub(super) fn fenced(record: &VolumeRecord, node: &NodeName) -> Option<Error> {
    let since = record.fenced.get(node)?;
    let message = format!(
        "volume `{}` was taken from node `{node}` at {since:.0}, where it may still be mounted",
        record.id
    );
    Some(
        Error::new(ErrorKind::Conflict, message)
            .hint("it is given back when the containers there have ended"),
    )
}
