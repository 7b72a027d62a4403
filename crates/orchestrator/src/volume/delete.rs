use model::VolumeId;

use crate::orchestrator::Inner;
use crate::record::{Goal, VolumeRecord};
use crate::request::Answer;
use crate::running::Operation;
use crate::volume::in_use;
use crate::{Error, ErrorKind, Result};

impl Inner {
    pub(crate) async fn delete(
        &self,
        id: &VolumeId,
        with_snapshots: bool,
        operation: &Operation,
    ) -> Result<Answer> {
        let record = self.volume(id)?;
        if record.goal == Goal::Exist {
            unused(&record, "delete")?;
            let snapshots = self.writer.catalogue().snapshots_of(id).count();
            if snapshots > 0 && !with_snapshots {
                let count =
                    if snapshots == 1 { "1 snapshot".to_owned() } else { format!("{snapshots} snapshots") };
                let message = format!("volume `{id}` has {count}, which would be lost with it");
                return Err(Error::new(ErrorKind::InUse, message)
                    .hint(format!("delete them first, or `leister delete volume {id} --snapshots`")));
            }
            if let Some(own) = self.own() {
                let seen = self.look(&record).await?;
                let permitted = seen.map(|seen| seen.permitted).unwrap_or_default();
                if let Some(other) = permitted.iter().find(|node| *node != own) {
                    return Err(in_use(&record, other));
                }
            }
            self.edit(&record, |record| record.goal = Goal::Gone).await?;
        }
        match self.drive(id, operation).await {
            Ok(_) => Ok(Answer::Gone),
            Err(error) => {
                self.keep_if_in_use(id, &error).await?;
                Err(error)
            }
        }
    }

    /// Another host has begun to use what was to be deleted: then it stays.
    pub(super) async fn keep_if_in_use(&self, id: &VolumeId, error: &Error) -> Result<()> {
        if self.own().is_some()
            && error.kind == ErrorKind::InUse
            && let Some(record) = self.writer.catalogue().volume(id)
        {
            self.edit(&record, |record| record.goal = Goal::Exist).await?;
        }
        Ok(())
    }

    /// Drops the record; the data stays, and what the backend knows of it.
    pub(crate) async fn forget(&self, id: &VolumeId) -> Result<Answer> {
        let record = self.volume(id)?;
        unused(&record, "forget")?;
        tracing::info!(volume = %id, backend = %record.backend, handle = %record.handle, "volume is forgotten");
        self.drop_records(id).await?;
        Ok(Answer::Gone)
    }
}

fn unused(record: &VolumeRecord, verb: &str) -> Result<()> {
    let nodes: Vec<String> = record.publications().map(|node| format!("`{node}`")).collect();
    if nodes.is_empty() {
        return Ok(());
    }
    let message = format!("volume `{}` is in use on node {}", record.id, nodes.join(", "));
    Err(Error::new(ErrorKind::InUse, message).hint(format!("stop what uses it, then {verb} it")))
}
