use model::{Bytes, VolumeId};

use crate::orchestrator::Inner;
use crate::request::Answer;
use crate::running::Operation;
use crate::{Error, ErrorKind, Result};

impl Inner {
    pub(crate) async fn grow(&self, id: &VolumeId, size: Bytes, operation: &Operation) -> Result<Answer> {
        let record = self.existing(id)?;
        let backend = self.backends.backend(&record.backend)?;
        let pool = backend.pool(&record.pool);
        let before = record.spec.size;
        let size = pool.as_ref().map_or(size, |pool| size.round_up(pool.granularity));
        if size < before {
            let message = format!("volume `{id}` has {before}; it cannot shrink to {size}");
            return Err(Error::invalid(message).hint("volumes only grow; copy the data to a smaller one"));
        }
        if let Some(largest) = pool.and_then(|pool| pool.largest).filter(|largest| size > *largest) {
            let message =
                format!("size {size} is over the largest allowed on pool `{}`: {largest}", record.pool);
            return Err(Error::invalid(message).hint("see `limitVolumeSize` in the backend's config"));
        }
        backend.driver(self.patience(operation.request.verb())).await?;
        if size > before && !backend.capabilities().resize {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("backend `{}` cannot grow volumes", backend.name),
            ));
        }
        if size == before {
            return self.drive(id, operation).await.map(|_| Answer::Volume(record));
        }
        self.edit(&record, |record| record.growing = Some(size)).await?;
        match self.drive(id, operation).await {
            Ok(driven) => {
                backend.spend(&record.pool, size - before, record.spec.provisioning);
                driven.record.map(Answer::Volume).ok_or_else(|| Error::not_found("volume", id))
            }
            // It may have been done: the wish stands, and is fulfilled when the backend answers.
            Err(error) if error.kind == ErrorKind::Unreachable => {
                Err(error.hint("it will grow when the backend answers"))
            }
            Err(error) => {
                let now = self.volume(id)?;
                self.edit(&now, |record| record.growing = None).await?;
                Err(error)
            }
        }
    }
}
