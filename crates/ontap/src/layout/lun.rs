//! A LUN in the volume.

use std::collections::HashMap;

use driver::Result;
use model::{Bytes, Handle, VolumeSpec};

use super::{Array, GRANULARITY, Unit};
use crate::client;
use crate::config::Choices;
use crate::error::EXISTS;
use crate::wire::Named;
use crate::wire::luns::{self, NewLun, NewLunSpace, Requested};

const NAME: &str = "lun0";

impl Array {
    pub(super) async fn find_lun(&self, handle: &Handle) -> client::Result<Unit> {
        let lun = luns::find(&self.client, &self.svm, &path(handle.as_str())).await?;
        Ok(lun.map_or(Unit::Missing, Unit::Lun))
    }

    /// By the name of the volume they lie in.
    pub(super) async fn list_luns(&self) -> client::Result<HashMap<String, Unit>> {
        let pattern = path(&format!("{}*", self.config.prefix));
        let luns = luns::list(&self.client, &self.svm, &pattern).await?;
        let of_volume = |lun: luns::Lun| {
            let volume = lun.name.strip_prefix("/vol/")?.strip_suffix(&format!("/{NAME}"))?.to_owned();
            Some((volume, Unit::Lun(lun)))
        };
        Ok(luns.into_iter().filter_map(of_volume).collect())
    }

    pub(crate) async fn make_lun(
        &self,
        handle: &Handle,
        spec: &VolumeSpec,
        choices: &Choices,
        operation: &'static str,
    ) -> Result<()> {
        let lun = NewLun {
            name: path(handle.as_str()),
            svm: Named::new(&self.svm),
            os_type: "linux",
            comment: None,
            qos_policy: None,
            space: NewLunSpace {
                size: spec.size.round_up(GRANULARITY).get(),
                guarantee: Requested { requested: spec.provisioning == model::Provisioning::Thick },
                scsi_thin_provisioning_support_enabled: Some(choices.space_allocation.unwrap_or(true)),
            },
        };
        match luns::create(&self.client, &lun).await {
            Err(error) if !error.is(EXISTS) => Err(self.error(operation)(error)),
            _ => Ok(()),
        }
    }

    pub(crate) async fn enlarge_lun(&self, lun: &luns::Lun, size: Bytes) -> client::Result<()> {
        luns::grow(&self.client, &lun.uuid, size.get()).await
    }
}

pub(crate) fn path(volume: &str) -> String {
    format!("/vol/{volume}/{NAME}")
}
