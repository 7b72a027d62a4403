use model::{VolumeId, VolumeOptions};

use crate::orchestrator::Inner;
use crate::request::Answer;
use crate::running::Operation;
use crate::{Error, ErrorKind, Result};

impl Inner {
    pub(crate) async fn modify(
        &self,
        id: &VolumeId,
        changes: &VolumeOptions,
        operation: &Operation,
    ) -> Result<Answer> {
        let record = self.existing(id)?;
        let backend = self.backends.backend(&record.backend)?;
        backend.driver(self.patience(operation.request.verb())).await?;
        if changes.is_empty() {
            return self.drive(id, operation).await.map(|_| Answer::Volume(record));
        }
        if !backend.capabilities().modify {
            let message = format!("backend `{}` cannot change options of volumes", backend.name);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        // Also what the record says it has already: only the backend knows whether it does.
        let before = record.changing.clone();
        self.edit(&record, |record| record.changing.extend(changes.clone())).await?;
        match self.drive(id, operation).await {
            Ok(driven) => driven.record.map(Answer::Volume).ok_or_else(|| Error::not_found("volume", id)),
            // It may have been done: the wish stands, and is fulfilled when the backend answers.
            Err(error) if error.kind == ErrorKind::Unreachable => {
                Err(error.hint("it will change when the backend answers"))
            }
            Err(error) => {
                let now = self.volume(id)?;
                self.edit(&now, |record| record.changing = before).await?;
                Err(error)
            }
        }
    }
}
