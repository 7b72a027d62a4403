use std::collections::BTreeSet;

use driver::Retry;
use model::{NodeName, VolumeId};

use crate::orchestrator::Inner;
use crate::record::Goal;
use crate::request::Answer;
use crate::running::Operation;
use crate::{Error, Result};

impl Inner {
    /// First try over, restart or drift: brings everything of the volume in line.
    pub(crate) async fn reconcile(
        &self,
        id: &VolumeId,
        strays: &[NodeName],
        locked: &BTreeSet<VolumeId>,
        operation: &Operation,
    ) -> Result<Answer> {
        let driven = match self.drive(id, operation).await {
            Ok(driven) => driven,
            Err(error) => {
                self.note_trouble(id, &error).await;
                if error.retry != Retry::Later {
                    self.give_up(id, &error, operation).await?;
                }
                return Err(error);
            }
        };
        let Some(record) = driven.record else { return Ok(Answer::Gone) };
        for node in driven.routes.keys() {
            tracing::info!(volume = %id, %node, "a permit that was missing is back");
            self.metrics.repair(&record.backend, "permit added");
        }
        for node in strays.iter().filter(|node| !record.published.contains_key(*node)) {
            self.forbid_stray(record.clone(), node, operation).await?;
            tracing::info!(volume = %id, %node, "a permit without a publication is gone");
            self.metrics.repair(&record.backend, "permit removed");
        }
        let names: Vec<_> = self
            .writer
            .catalogue()
            .snapshots_of(id)
            .filter(|s| s.is_unfinished() && s.group.is_none())
            .map(|s| s.name.clone())
            .collect();
        for name in names {
            if let Err(error) = self.drive_snapshot(id, &name, operation).await {
                if error.retry != Retry::Later {
                    self.undo_snapshot(id, &name, operation).await;
                }
                return Err(error);
            }
        }
        self.reconcile_groups(id, locked, operation).await?;
        Ok(Answer::Volume(record))
    }

    /// The backend will not do what was wished for, and whoever wished it is gone: the wish goes too.
    async fn give_up(&self, id: &VolumeId, error: &Error, operation: &Operation) -> Result<()> {
        let Some(record) = self.writer.catalogue().volume(id) else { return Ok(()) };
        if record.goal == Goal::Gone {
            self.keep_if_in_use(id, error).await?;
        } else if !record.settled {
            self.undo(id, operation).await;
        } else if record.growing.is_some() || record.restoring.is_some() || !record.changing.is_empty() {
            self.edit(&record, |record| {
                record.growing = None;
                record.changing.clear();
                record.restoring = None;
            })
            .await?;
        }
        Ok(())
    }

    /// Writes down why a volume is not as it shall be, once per reason.
    async fn note_trouble(&self, id: &VolumeId, error: &Error) {
        let Some(record) = self.writer.catalogue().volume(id) else { return };
        let text = error.sentence();
        if record.trouble.as_deref() != Some(&text) {
            tracing::warn!(volume = %id, error = text, "volume is not as it shall be; it is tried again");
            if let Err(error) = self.edit(&record, |record| record.trouble = Some(text)).await {
                tracing::debug!(error = error.sentence(), "cannot note it");
            }
        }
    }
}
