//! Mounts, made detached and complete and then put in place in one step.

mod attributes;
pub(crate) mod nfs;
mod options;
mod table;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount as umount,
};

pub(crate) use options::Options;
pub(crate) use table::{Entry, Table};

use crate::error::{Doing, HostError, Result};

/// How long a mount may be busy with what passes.
const PASSING: Duration = Duration::from_secs(2);

/// Whether a bind takes the mounts below its source along.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    One,
    All,
}

/// Shows `source` at the directory `target` too, as a mount of its own with these attributes.
///
/// # Behavior
/// The mount appears with its attributes already in force: there is no moment at which a read-only one can be
/// written. A symbolic link as target is refused.
pub(crate) fn bind(source: &Path, target: &Path, depth: Depth, attributes: MountAttrFlags) -> Result<()> {
    let doing = || format!("bind {} to {}", source.display(), target.display());
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if depth == Depth::All {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = open_tree(CWD, source, flags).doing(doing)?;
    attributes::set_private(&tree, attributes).doing(doing)?;
    put(&tree, target).doing(doing)
}

/// Shows a file or device node at the file `target` too.
pub(crate) fn bind_file(source: &Path, target: &Path) -> Result<()> {
    let doing = || format!("bind {} to {}", source.display(), target.display());
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, source, flags).doing(doing)?;
    attributes::set_private(&tree, MountAttrFlags::empty()).doing(doing)?;
    put_on(&tree, target, OFlags::empty()).doing(doing)
}

/// Sees that the kernel has a filesystem and that it takes these options, before anything is written.
///
/// # Behavior
/// One that looks at its options only together with its device (btrfs before Linux 6.8) does so at the mount.
///
/// # Errors
/// Names the option, or what the kernel lacks.
pub(crate) fn check(filesystem: &str, options: &Options) -> Result<()> {
    context(filesystem, options).map(drop)
}

/// Mounts the filesystem of a device at the directory `target`.
///
/// # Errors
/// As [`check`]; and carries what the filesystem itself said about the device.
pub(crate) fn device(device: &Path, filesystem: &str, options: &Options, target: &Path) -> Result<()> {
    let doing = || format!("mount {} ({filesystem}) at {}", device.display(), target.display());
    let context = context(filesystem, options)?;
    let created = fsconfig_set_string(context.as_fd(), "source", device)
        .and_then(|()| fsconfig_create(context.as_fd()));
    created.map_err(|e| HostError::System {
        doing: doing(),
        hint: complaints(&context),
        source: e.into(),
    })?;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, options.attributes).doing(doing)?;
    put(&mount, target).doing(doing)
}

/// Takes down whatever is mounted at `point`, what lies below it first.
///
/// # Behavior
/// Nothing mounted there is as good. Never lazy: a mount in use stays. A use that passes is waited for: a tool that
/// has just been forked holds all our open files until it begins.
///
/// # Errors
/// The mount point that would not go, and why.
pub(crate) fn unmount(point: &Path) -> Result<(), (std::path::PathBuf, io::Error)> {
    const ROUNDS: usize = 64;
    let since = Instant::now();
    let failed = |error: HostError| (point.to_owned(), io::Error::other(error));
    let mut rounds = 0;
    while rounds < ROUNDS {
        let table = Table::read().map_err(failed)?;
        // Children come after their parents; what was mounted last goes first.
        let Some(last) = table.below(point).next_back().or_else(|| table.at(point)) else { return Ok(()) };
        match umount(&last.point, UnmountFlags::NOFOLLOW) {
            // Not a mount point any more: somebody else was quicker.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => rounds += 1,
            Err(Errno::BUSY) if since.elapsed() < PASSING => {
                std::thread::park_timeout(Duration::from_millis(2))
            }
            Err(error) => return Err((last.point.clone(), error.into())),
        }
    }
    Err((point.to_owned(), io::Error::other("mounts keep appearing here")))
}

/// A mount that is not made yet, with its options.
fn context(filesystem: &str, options: &Options) -> Result<OwnedFd> {
    let context = fsopen(filesystem, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| HostError::System {
        doing: format!("mount a filesystem of the kind {filesystem}"),
        hint: match e {
            Errno::NODEV => format!("the kernel has none; load it: `modprobe {filesystem}`"),
            _ => String::new(),
        },
        source: e.into(),
    })?;
    if options.is_read_only() {
        fsconfig_set_flag(context.as_fd(), "ro").doing(|| "ask for a read-only mount".to_owned())?;
    }
    for (word, value) in &options.filesystem {
        let (set, option) = match value {
            Some(value) => (
                fsconfig_set_string(context.as_fd(), word.as_str(), value.as_str()),
                format!("{word}={value}"),
            ),
            None => (fsconfig_set_flag(context.as_fd(), word.as_str()), word.clone()),
        };
        set.map_err(|e| HostError::Invalid {
            what: "mount option",
            value: option,
            problem: format!(
                "is not taken by {filesystem} ({}); correct or remove it in the class or the volume's options",
                Some(complaints(&context)).filter(|said| !said.is_empty()).unwrap_or_else(|| e.to_string())
            ),
        })?;
    }
    Ok(context)
}

fn put(tree: &OwnedFd, target: &Path) -> rustix::io::Result<()> {
    put_on(tree, target, OFlags::DIRECTORY)
}

fn put_on(tree: &OwnedFd, target: &Path, kind: OFlags) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | kind | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::open(target, flags, Mode::empty())?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", &target, "", flags)
}

/// What the kernel wrote about a mount that failed.
fn complaints(context: &OwnedFd) -> String {
    let mut lines = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(n @ 1..) = rustix::io::read(context, &mut buffer[..]) {
        let line = String::from_utf8_lossy(&buffer[..n]);
        let line = line.trim();
        lines.push(line.strip_prefix("e ").or(line.strip_prefix("w ")).unwrap_or(line).to_owned());
    }
    lines.join("; ")
}
