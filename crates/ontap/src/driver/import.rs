//! Taking over what somebody else made.

use async_trait::async_trait;
use driver::{DriverError, ErrorKind, Import, ImportVolume, Outcome, Result};
use model::{Handle, Layout, Owner, VolumeState};

use super::OntapDriver;
use crate::client;
use crate::layout::{Found, Unit};
use crate::tag::Tag;

const IMPORT: &str = "import volume";

impl OntapDriver {
    /// Whatever has this name; of what lies in shared FlexVols, also `FLEXVOL/NAME`.
    async fn importable(&self, original: &str) -> client::Result<Option<Found>> {
        if self.array.config.kind.is_economy() {
            return self.array.find_shared(original).await;
        }
        match Handle::new(original) {
            Ok(handle) => self.array.find(&handle).await,
            Err(_) => Ok(None),
        }
    }
}

#[async_trait]
impl Import for OntapDriver {
    async fn find(&self, original: &str) -> Result<Option<VolumeState>> {
        const OPERATION: &str = "find volume";
        let found = self.importable(original).await.map_err(self.array.error(OPERATION))?;
        match found {
            Some(found) => {
                let mut state = self.state(&found, OPERATION).await?;
                if state.owner == Owner::Nobody {
                    state.made_as = self.array.described(&found, OPERATION).await?;
                }
                Ok(Some(state))
            }
            None => Ok(None),
        }
    }

    /// A new name and our tag in one call.
    async fn import(&self, request: &ImportVolume) -> Result<Outcome<VolumeState>> {
        let fail = self.array.error(IMPORT);
        let conflict = |message: String| DriverError::new(ErrorKind::Conflict, IMPORT, message);
        if let Some(there) = self.array.find(&request.handle).await.map_err(&fail)? {
            let tag = there.tag.as_ref();
            let done = there.owner(&self.array) == Owner::Ours
                && tag.is_some_and(|tag| {
                    // A qtree has no room to say what it was called.
                    let told = matches!(there.unit, Unit::Qtree(_));
                    tag.volume == request.volume
                        && (told || tag.imported.as_deref() == Some(&*request.original))
                });
            if done {
                return Ok(Outcome::Unchanged(self.state(&there, IMPORT).await?));
            }
            if request.handle.as_str() != request.original {
                return Err(conflict(format!("`{}` exists and is another volume", request.handle)));
            }
        }
        let absent = || {
            let message = format!("SVM `{}` has no volume `{}`", self.array.svm, request.original);
            DriverError::new(ErrorKind::NotFound, IMPORT, message)
        };
        let found = self.importable(&request.original).await.map_err(&fail)?.ok_or_else(absent)?;
        if found.owner(&self.array) != Owner::Nobody {
            return Err(conflict(format!("`{}` carries an instance's tag already", request.original)));
        }
        if matches!(found.unit, Unit::Missing) {
            let message = format!(
                "`{}` holds no `{}`; rename its LUN to that first",
                request.original,
                crate::layout::lun_path(&request.original)
            );
            return Err(DriverError::new(ErrorKind::Unsupported, IMPORT, message));
        }
        if let Unit::Qtree(qtree) = &found.unit {
            if qtree.rule.is_none() {
                let message = format!(
                    "qtree `{}` has no quota rule of its own, so that it has no size; give it one first",
                    request.original
                );
                return Err(DriverError::new(ErrorKind::Unsupported, IMPORT, message));
            }
            self.array.tag_qtree(qtree, &request.handle, &request.volume, IMPORT).await?;
            let imported = self.ours(&request.handle, IMPORT).await?;
            return Ok(Outcome::Changed(self.state(&imported, IMPORT).await?));
        }
        let tag = Tag {
            instance: self.array.instance.clone(),
            volume: request.volume.clone(),
            holds: Some(self.array.holds()),
            pool: None,
            // It holds somebody's data.
            staged: self.array.layout() == Layout::Block,
            imported: Some(request.original.clone()),
            terms: None,
            spec: Some(Box::new(request.spec.clone())),
            filesystem: None,
        };
        if self.array.config.kind.is_economy() {
            self.array.take_over_lun(&found, &tag, &request.spec.labels, &request.handle, IMPORT).await?;
        } else {
            self.array.take_over(&found.volume, &tag, &request.spec.labels, &request.handle, IMPORT).await?;
        }
        let imported = self.ours(&request.handle, IMPORT).await?;
        Ok(Outcome::Changed(self.state(&imported, IMPORT).await?))
    }
}
