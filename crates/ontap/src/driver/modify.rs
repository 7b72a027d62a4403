//! Changing options while in use: one call for each volume, between two looks at it.

use std::collections::BTreeSet;

use async_trait::async_trait;
use driver::{Modify, ModifyVolume, Outcome, Result};
use model::{VolumeOption, VolumeState};

use super::OntapDriver;
use crate::client;
use crate::config::Choices;
use crate::layout::{COMMENT, COMMENT_OF_LUN, Found, GRANULARITY, Unit, decimal};
use crate::tag::Tag;
use crate::wire::qtrees::{self, NewTerms};
use crate::wire::volumes::{self, Change, Nas, NewSpace, Qos, SnapshotSpace, Tiering};
use crate::wire::{Named, luns};

const MODIFY: &str = "modify volume";
/// How the array is told that a volume has no QoS policy any more.
const NO_POLICY: &str = "none";

#[async_trait]
impl Modify for OntapDriver {
    fn modifiable(&self) -> BTreeSet<VolumeOption> {
        self.array.config.kind.modifiable()
    }

    async fn modify_volume(&self, request: &ModifyVolume) -> Result<Outcome<VolumeState>> {
        request.check(&self.modifiable())?;
        let choices = self.array.choices(&request.spec, MODIFY)?;
        let found = self.ours(&request.handle, MODIFY).await?;
        let spec = Some(Box::new(request.spec.clone()));
        let tag = found.tag.clone().map(|tag| Tag { spec, ..tag });
        let comment = |longest| match &tag {
            Some(tag) => tag.write(&request.spec.labels, longest, MODIFY).map(Some),
            None => Ok(None),
        };
        let client = &self.array.client;
        let done = match &found.unit {
            Unit::Qtree(qtree) => qtrees::modify(client, qtree, &terms(request, &choices)).await,
            Unit::Lun(lun) if self.array.config.kind.is_economy() => {
                let qos_policy =
                    changes_limit(request).then(|| Named::new(choices.qos_policy.as_deref().unwrap_or("")));
                let comment = comment(COMMENT_OF_LUN)?;
                luns::change(
                    client,
                    &lun.uuid,
                    &luns::Change { comment, qos_policy, ..luns::Change::default() },
                )
                .await
            }
            _ => {
                let comment = comment(COMMENT)?;
                self.modify_own(request, &found, &choices, comment).await
            }
        };
        done.map_err(self.array.error(MODIFY))?;
        let modified = self.ours(&request.handle, MODIFY).await?;
        let state = self.state(&modified, MODIFY).await?;
        Ok(if found.tag == tag { Outcome::Unchanged(state) } else { Outcome::Changed(state) })
    }
}

impl OntapDriver {
    /// A volume that has a FlexVol or FlexGroup of its own.
    async fn modify_own(
        &self,
        request: &ModifyVolume,
        found: &Found,
        choices: &Choices,
        comment: Option<String>,
    ) -> client::Result<()> {
        let is_changed = |option| request.changes.contains_key(&option);
        let mut change = Change { comment, ..Change::default() };
        if is_changed(VolumeOption::SnapshotPolicy) {
            change.snapshot_policy = Some(Named::new(choices.snapshot_policy.as_deref().unwrap_or("none")));
        }
        let reserve = choices.reserve();
        let with_reserve =
            is_changed(VolumeOption::SnapshotPolicy) || is_changed(VolumeOption::SnapshotReserve);
        if with_reserve && found.volume.reserve() != reserve {
            // What users can fill stays as it is.
            let around = reserve.around(self.array.around_unit(found.size())).round_up(GRANULARITY);
            change.size = Some(around.get());
            change.space = Some(NewSpace { snapshot: SnapshotSpace { reserve_percent: reserve.0 } });
        }
        if is_changed(VolumeOption::SnapshotDir) {
            change.snapshot_directory_access_enabled = Some(choices.snapshot_dir);
        }
        if is_changed(VolumeOption::UnixPermissions) {
            let unix_permissions = choices.unix_permissions.map(decimal);
            change.nas = Some(Nas { unix_permissions, ..Nas::default() });
        }
        if is_changed(VolumeOption::TieringPolicy) {
            change.tiering = choices.tiering_policy.map(|policy| Tiering { policy });
        }
        if changes_limit(request) {
            change.qos = Some(Qos { policy: Named::new(choices.qos_policy.as_deref().unwrap_or(NO_POLICY)) });
        }
        volumes::change(&self.array.client, &found.volume.uuid, &change).await
    }
}

fn changes_limit(request: &ModifyVolume) -> bool {
    [VolumeOption::QosPolicy, VolumeOption::AdaptiveQosPolicy]
        .iter()
        .any(|option| request.changes.contains_key(option))
}

fn terms(request: &ModifyVolume, choices: &Choices) -> NewTerms {
    let mode =
        choices.unix_permissions.filter(|_| request.changes.contains_key(&VolumeOption::UnixPermissions));
    NewTerms {
        unix_permissions: mode.map(decimal),
        qos_policy: changes_limit(request)
            .then(|| Named::new(choices.qos_policy.as_deref().unwrap_or(NO_POLICY))),
    }
}
