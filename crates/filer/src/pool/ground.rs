//! What a pool's directory lies on.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::Mode;

use crate::error::{Context, FilerError, Result};
use crate::pool::tree;

/// A file system that pools are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    Btrfs,
    Xfs,
}

const BTRFS: u64 = 0x9123_683E;
const XFS: u64 = 0x5846_5342;
const ZFS: u64 = 0x2FC1_2FC1;

/// Why there is no pool on ZFS, and what there is instead.
pub(super) fn no_zfs(place: &str) -> FilerError {
    let module = match Path::new("/sys/module/zfs").exists() {
        true => "is loaded here",
        false => "is not loaded here (Debian packages zfs-dkms and zfsutils-linux)",
    };
    FilerError::Unsupported(format!(
        "{place}: this release has no pools on ZFS, whose kernel module `zfs` {module}; use a directory on btrfs or XFS, or \
         name a thin pool of LVM as `group/pool`"
    ))
}

/// Opens the directory.
///
/// # Errors
/// `Unsupported` for a file system that no pool can be on.
pub(super) fn open(path: &Path) -> Result<(OwnedFd, Ground)> {
    let root = rustix::fs::open(path, tree::DIRECTORY, Mode::empty()).while_doing("open pool", path)?;
    let kind = rustix::fs::fstatfs(&root).while_doing("look at", path)?;
    #[allow(clippy::cast_sign_loss, reason = "a magic number")]
    match kind.f_type as u64 & 0xFFFF_FFFF {
        BTRFS => Ok((root, Ground::Btrfs)),
        XFS => Ok((root, Ground::Xfs)),
        ZFS => Err(no_zfs(&path.display().to_string())),
        _ => Err(FilerError::Unsupported(format!(
            "{} is not on btrfs or XFS; mount one of them there, give the pool an image file, or name a thin pool of \
             LVM as `group/pool`",
            path.display()
        ))),
    }
}
