//! Growing while in use.

use async_trait::async_trait;
use driver::{Outcome, Resize, Result};
use model::{Bytes, Handle, VolumeState};

use super::OntapDriver;
use crate::layout::{Found, GRANULARITY, Unit};
use crate::wire::namespaces;

pub(super) const GROW: &str = "grow volume";

#[async_trait]
impl Resize for OntapDriver {
    /// The volume first, then what lies in it: an interruption leaves room, never too little of it.
    async fn grow(&self, handle: &Handle, size: Bytes) -> Result<Outcome<VolumeState>> {
        let found = self.ours(handle, GROW).await?;
        let size = size.round_up(GRANULARITY);
        if found.size() >= size {
            return Ok(Outcome::Unchanged(self.state(&found, GROW).await?));
        }
        self.room_to_grow(&found, size).await?;
        self.enlarge(&found, size, GROW).await?;
        let grown = self.ours(handle, GROW).await?;
        Ok(Outcome::Changed(self.state(&grown, GROW).await?))
    }
}

impl OntapDriver {
    pub(super) async fn enlarge(&self, found: &Found, size: Bytes, operation: &'static str) -> Result<()> {
        let fail = self.array.error(operation);
        if self.array.config.kind.is_economy() {
            let _turn = self.array.turn().await;
            let more = size.saturating_sub(found.size());
            self.array.make_room(&found.volume, more.get(), operation).await?;
        } else {
            self.array.enlarge(&found.volume, size).await.map_err(&fail)?;
        }
        match &found.unit {
            Unit::Lun(lun) => self.array.enlarge_lun(lun, size).await.map_err(fail),
            Unit::Namespace(namespace) => {
                namespaces::grow(&self.array.client, &namespace.uuid, size.get()).await.map_err(fail)
            }
            Unit::Qtree(qtree) => self.array.grow_qtree(qtree, size).await.map_err(fail),
            Unit::Files | Unit::Missing => Ok(()),
        }
    }
}
