use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Bytes, ClassName, Handle, InstanceId, Labels, NodeName, PoolName, SnapshotName, VolumeId, nearest,
};

/// What a volume shall be. Everything left open by the user has been decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSpec {
    pub size: Bytes,
    pub layout: Layout,
    /// For a block volume: the filesystem a node puts on it; `None` is a raw device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<Filesystem>,
    pub provisioning: Provisioning,
    #[serde(default)]
    pub access: AccessMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<ClassName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    #[serde(default, skip_serializing_if = "VolumeOptions::is_empty")]
    pub options: VolumeOptions,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mount_options: Vec<String>,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// What the volume's content is copied from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Source {
    pub volume: VolumeId,
    /// `None`: the content at the moment of the clone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotName>,
}

/// A volume as its backend has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeState {
    pub handle: Handle,
    pub owner: Owner,
    /// The name written on it when it was made or imported.
    pub volume: Option<VolumeId>,
    pub pool: PoolName,
    pub size: Bytes,
    /// Space its content takes up, where the backend can tell.
    pub used: Option<Bytes>,
    pub layout: Layout,
    pub provisioning: Provisioning,
    /// Nodes that can reach it now.
    pub permitted: BTreeSet<NodeName>,
    /// Whether a node has put it to use, so that it must never be formatted; `None`: the backend does not keep that.
    pub staged: Option<bool>,
    pub created: Option<Timestamp>,
    /// False: its making was interrupted. Nobody can use it yet; repeating it makes it whole, and it can be deleted.
    #[serde(default = "yes")]
    pub complete: bool,
    /// What it was made as, where the backend keeps that: from it a lost record is rebuilt.
    pub made_as: Option<Box<VolumeSpec>>,
}

/// Whose tag a volume on a backend carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Owner {
    Ours,
    Other(InstanceId),
    Nobody,
}

fn yes() -> bool {
    true
}

macro_rules! words {
    ($(#[$doc:meta])* $type:ident, $what:literal, { $($(#[$vdoc:meta])* $variant:ident = $word:literal $(| $alias:literal)*),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $type {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $type {
            pub const ALL: &'static [$type] = &[$($type::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self { $($type::$variant => $word),+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        /// Case does not matter.
        impl FromStr for $type {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                $(if [$word $(, $alias)*].iter().any(|w| w.eq_ignore_ascii_case(text)) { return Ok($type::$variant); })+
                let known: Vec<&str> = Self::ALL.iter().map(|v| v.as_str()).collect();
                let hint = nearest(text, known.iter().copied()).map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
                Err(format!(concat!("unknown ", $what, " `{}`{}; known: {}"), text, hint, known.join(", ")))
            }
        }
    };
}
pub(crate) use words;

words!(
    /// How the bytes are offered: a tree of files, or a device.
    Layout, "layout", { File = "file", Block = "block" });
words!(
    Filesystem, "file system", { Ext3 = "ext3", Ext4 = "ext4", Xfs = "xfs", Btrfs = "btrfs" });
words!(
    /// Whether space is taken at creation or when written.
    Provisioning, "provisioning type", { Thin = "thin" | "none", Thick = "thick" | "volume" });
words!(
/// Who may use the volume at the same time, in Kubernetes' words. Several modes fold into the widest.
AccessMode, "access mode", {
    ReadWriteOnce = "ReadWriteOnce" | "RWO",
    ReadWriteOncePod = "ReadWriteOncePod" | "RWOP",
    ReadOnlyMany = "ReadOnlyMany" | "ROX",
    ReadWriteMany = "ReadWriteMany" | "RWX",
});
words!(
/// A wish about one volume that only some drivers can fulfil. A driver states which it accepts.
VolumeOption, "option", {
    SnapshotPolicy = "snapshotPolicy",
    SnapshotReserve = "snapshotReserve",
    /// Show snapshots inside the volume.
    SnapshotDir = "snapshotDir" | "snapshotDirectory",
    /// Mode of the volume's root, octal (`0770`) or symbolic (`---rwxr-x---`).
    UnixPermissions = "unixPermissions",
    ExportPolicy = "exportPolicy",
    SecurityStyle = "securityStyle",
    SplitOnClone = "splitOnClone",
    Encryption = "encryption",
    LuksEncryption = "LUKSEncryption",
    TieringPolicy = "tieringPolicy",
    QosPolicy = "qosPolicy",
    AdaptiveQosPolicy = "adaptiveQosPolicy",
    SpaceAllocation = "spaceAllocation",
    SkipRecoveryQueue = "skipRecoveryQueue",
    /// Further arguments for mkfs.
    FormatOptions = "formatOptions",
    BlockSize = "blockSize",
    /// A named QoS type of the backend.
    QosType = "type",
    /// `min,max,burst` IOPS.
    Qos = "qos",
});

pub type VolumeOptions = BTreeMap<VolumeOption, String>;

/// Whether the node that uses the volume encrypts what lies on it.
pub fn is_encrypted_by_node(options: &VolumeOptions) -> bool {
    options.get(&VolumeOption::LuksEncryption).is_some_and(|flag| flag.eq_ignore_ascii_case("true"))
}

#[allow(clippy::derivable_impls, reason = "the variants are made by the macro above")]
impl Default for AccessMode {
    fn default() -> Self {
        AccessMode::ReadWriteOnce
    }
}

impl AccessMode {
    /// More than one mode wished for: the widest that covers all.
    pub fn fold(modes: impl IntoIterator<Item = AccessMode>) -> Option<AccessMode> {
        modes.into_iter().reduce(|a, b| if a == b { a } else { AccessMode::ReadWriteMany })
    }

    /// Whether several nodes may reach the volume at once.
    pub fn is_shared(self) -> bool {
        matches!(self, AccessMode::ReadWriteMany | AccessMode::ReadOnlyMany)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_without_case_and_their_aliases_too() {
        assert_eq!("THICK".parse(), Ok(Provisioning::Thick));
        assert_eq!("volume".parse(), Ok(Provisioning::Thick));
        assert_eq!("snapshotdirectory".parse(), Ok(VolumeOption::SnapshotDir));
        assert_eq!("rwx".parse(), Ok(AccessMode::ReadWriteMany));
    }

    #[test]
    fn an_unknown_word_names_the_nearest() {
        let error = "snapshotDri".parse::<VolumeOption>().unwrap_err();
        assert!(error.contains("did you mean `snapshotDir`"), "{error}");
    }

    #[test]
    fn several_access_modes_fold_into_the_widest() {
        use AccessMode::*;
        assert_eq!(AccessMode::fold([ReadWriteOnce, ReadOnlyMany]), Some(ReadWriteMany));
        assert_eq!(AccessMode::fold([ReadWriteOnce]), Some(ReadWriteOnce));
        assert_eq!(AccessMode::fold([]), None);
    }
}
