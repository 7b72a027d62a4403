//! Filesystems: what is there, made new, checked, grown.

mod btrfs;
mod ext;
mod superblock;
mod xfs;

use std::path::Path;

use model::{Bytes, Filesystem};

use crate::error::Result;
use crate::exec::{ExecError, Tool};
use crate::host::Limits;
use crate::lock::Hold;

pub(crate) use superblock::Superblock;

/// Runs tools for one request.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) limits: Limits,
    pub(crate) hold: Hold,
}

/// What blkid's low-level probe says of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    Nothing,
    Filesystem(Filesystem),
    /// A LUKS2 header with this UUID.
    Luks(String),
    /// A label of another kind: a partition table, LVM, LUKS1, swap, another filesystem.
    Other(String),
    /// Several labels that contradict each other.
    Ambiguous,
}

impl Tools {
    pub(crate) fn quick(&self, name: &'static str) -> Tool {
        Tool::new(name).limit(self.limits.quick).holding(&self.hold)
    }

    pub(crate) fn long(&self, name: &'static str) -> Tool {
        Tool::new(name).limit(self.limits.long).holding(&self.hold)
    }

    pub(crate) fn network(&self, name: &'static str) -> Tool {
        Tool::new(name).limit(self.limits.network).holding(&self.hold)
    }
}

/// Asks blkid, past its cache.
///
/// # Behavior
/// blkid gives the same answer (exit code 2) for a device without a label and for one it cannot open: alone,
/// [`Probe::Nothing`] proves nothing.
pub(crate) async fn probe(tools: &Tools, device: &Path) -> Result<Probe, ExecError> {
    const NOTHING: i32 = 2;
    const AMBIGUOUS: i32 = 8;
    let tool = tools.quick("blkid").args(["-p", "-o", "export"]).path(device);
    let output = tool.accept(&[0, NOTHING, AMBIGUOUS]).run().await?;
    Ok(match output.code {
        AMBIGUOUS => Probe::Ambiguous,
        NOTHING if output.stdout.is_empty() => Probe::Nothing,
        _ => label(&output.stdout),
    })
}

/// Makes a filesystem.
///
/// # Behavior
/// `over_remains`: over what an earlier attempt of ours left, which the tools else refuse. Never discards: the
/// device is blank, and a thick volume must keep its space.
pub(crate) async fn make(
    tools: &Tools,
    filesystem: Filesystem,
    device: &Path,
    options: &[String],
    over_remains: bool,
) -> Result<(), ExecError> {
    let tool = match filesystem {
        Filesystem::Ext3 | Filesystem::Ext4 => ext::make(tools, filesystem, over_remains),
        Filesystem::Xfs => xfs::make(tools, over_remains),
        Filesystem::Btrfs => btrfs::make(tools, over_remains),
    };
    tool.args(options).path(device).run().await.map(drop)
}

/// Sees that an unmounted filesystem may be mounted; repairs only what is safe to repair unasked.
///
/// # Errors
/// The damage is more than that.
pub(crate) async fn check(tools: &Tools, filesystem: Filesystem, device: &Path) -> Result<(), ExecError> {
    match filesystem {
        Filesystem::Ext3 | Filesystem::Ext4 => ext::check(tools, device).await,
        // Their logs are replayed by mounting; a log that cannot be fails the mount.
        Filesystem::Xfs | Filesystem::Btrfs => Ok(()),
    }
}

/// Options without which a mount would fail for the wrong reason.
pub(crate) fn needed_options(filesystem: Filesystem) -> &'static [&'static str] {
    match filesystem {
        // A clone carries the UUID of its source, and both may be mounted here.
        Filesystem::Xfs => &["nouuid"],
        Filesystem::Ext3 | Filesystem::Ext4 | Filesystem::Btrfs => &[],
    }
}

/// A reason why this filesystem must not be mounted on this node now.
pub(crate) fn obstacle(filesystem: Filesystem, superblock: &Superblock, device: &Path) -> Option<String> {
    match filesystem {
        Filesystem::Btrfs => btrfs::twin(superblock, device),
        Filesystem::Ext3 | Filesystem::Ext4 | Filesystem::Xfs => None,
    }
}

/// Why this process cannot grow a mounted filesystem of that kind, if so.
pub(crate) fn hindrance(filesystem: Filesystem) -> Option<&'static str> {
    match filesystem {
        Filesystem::Ext3 | Filesystem::Ext4 => ext::hindrance(),
        Filesystem::Xfs | Filesystem::Btrfs => None,
    }
}

/// Extends a mounted filesystem to the size of its device.
pub(crate) async fn grow(
    tools: &Tools,
    filesystem: Filesystem,
    device: &Path,
    point: &Path,
) -> Result<(), ExecError> {
    let tool = match filesystem {
        Filesystem::Ext3 | Filesystem::Ext4 => tools.long("resize2fs").path(device),
        Filesystem::Xfs => tools.long("xfs_growfs").arg("-d").path(point),
        Filesystem::Btrfs => tools.long("btrfs").args(["filesystem", "resize", "max"]).path(point),
    };
    tool.run().await.map(drop)
}

/// How much of its device a mounted filesystem spans, as the kernel has it.
pub(crate) fn mounted_size(filesystem: Filesystem, device: &Path, point: &Path) -> std::io::Result<Bytes> {
    match filesystem {
        Filesystem::Ext3 | Filesystem::Ext4 => ext::mounted_size(device),
        Filesystem::Xfs => xfs::mounted_size(point),
        Filesystem::Btrfs => btrfs::mounted_size(point),
    }
}

fn label(export: &str) -> Probe {
    let value = |key: &str| {
        export.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned)
    };
    match (value("TYPE"), value("PTTYPE")) {
        (Some(kind), None) => match Filesystem::ALL.iter().find(|f| f.as_str() == kind) {
            Some(filesystem) => Probe::Filesystem(*filesystem),
            None if kind == "crypto_LUKS" && value("VERSION").as_deref() == Some("2") => {
                Probe::Luks(value("UUID").unwrap_or_default())
            }
            None => Probe::Other(kind),
        },
        (None, Some(table)) => Probe::Other(format!("a partition table ({table})")),
        (Some(kind), Some(table)) => Probe::Other(format!("{kind} and a partition table ({table})")),
        (None, None) => Probe::Other("something blkid has no name for".to_owned()),
    }
}
