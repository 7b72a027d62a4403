use model::{NodeName, VolumeId};

use crate::orchestrator::Inner;
use crate::record::{Goal, VolumeRecord};
use crate::request::Answer;
use crate::running::Operation;
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
            self.edit(&record, |record| record.goal = Goal::Gone).await?;
        }
        self.drive(id, operation).await?;
        Ok(Answer::Gone)
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
    let nodes: Vec<&str> = record.publications().map(NodeName::as_str).collect();
    if nodes.is_empty() {
        return Ok(());
    }
    let message = format!("volume `{}` is in use on node {}", record.id, nodes.join(", "));
    Err(Error::new(ErrorKind::InUse, message).hint(format!("stop what uses it, then {verb} it")))
}
