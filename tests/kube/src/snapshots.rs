//! What a cluster needs for snapshots of claims.

use anyhow::Result;

use crate::cluster::Cluster;

/// Snapshots of several volumes at one instant are not for every cluster yet: for csi-snapshotter and the
/// snapshot-controller.
pub const GROUPS: &str = "--feature-gates=CSIVolumeGroupSnapshot=true";

impl Cluster {
    /// Applies the definitions of snapshots.
    ///
    /// # Errors
    /// They are refused.
    pub fn define_snapshots(&self) -> Result<()> {
        let folder = self.programs().definitions();
        self.kubectl(&["apply", "-f", &folder.display().to_string()])?.ok()?;
        self.await_definitions("", "snapshot.storage.k8s.io")
    }

    /// Applies the definitions of snapshots, of one claim and of several, and the classes and rights of `deploy`.
    ///
    /// # Errors
    /// They cannot be had, or are refused.
    pub fn prepare_snapshots(&self) -> Result<()> {
        self.define_snapshots()?;
        let folder = self.programs().group_definitions()?;
        self.kubectl(&["apply", "-f", &folder.display().to_string()])?.ok()?;
        self.await_definitions("group", "groupsnapshot.storage.k8s.io")?;
        self.apply(include_str!("../../../deploy/kubernetes/snapshots.yaml"))?;
        self.apply(include_str!("../../../deploy/kubernetes/groups.yaml"))
    }

    fn await_definitions(&self, of: &str, group: &str) -> Result<()> {
        ["snapshots", "snapshotcontents", "snapshotclasses"].into_iter().try_for_each(|end| {
            self.wait(&format!("crd/volume{of}{end}.{group}"), "condition=Established").map(drop)
        })
    }
}
