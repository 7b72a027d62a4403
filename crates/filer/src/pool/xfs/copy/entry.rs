//! One file, link or device, with all that belongs to it.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawMode, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::{Errno, Result};

/// An extended attribute is at most this large, and so are the names of all of one file.
const LARGEST: usize = 64 << 10;
/// XFS shows access lists under two names, of which one is enough.
const ACL_COPIES: &[u8] = b"trusted.SGI_ACL_";

/// Files that have several names, by inode: where the first copy lies.
pub(super) struct Links<'a> {
    pub(super) root: BorrowedFd<'a>,
    pub(super) known: HashMap<u64, Vec<u8>>,
}

impl Links<'_> {
    /// Makes `name` another name of a file that has been copied; false if it has not been.
    pub(super) fn link(
        &mut self,
        stat: &Stat,
        to: BorrowedFd<'_>,
        name: &[u8],
        path: &[Vec<u8>],
    ) -> Result<bool> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let Some(first) = self.known.get(&stat.st_ino) else {
            self.known.insert(stat.st_ino, path.join(&b'/'));
            return Ok(false);
        };
        rustix::fs::linkat(self.root, first.as_slice(), to, name, AtFlags::empty())?;
        Ok(true)
    }
}

pub(super) fn is_file(mode: RawMode) -> bool {
    FileType::from_raw_mode(mode) == FileType::RegularFile
}

pub(super) fn open_file(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOATIME | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Copies what is no directory.
pub(super) fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> Result<()> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    match kind {
        FileType::RegularFile => {
            let source = open_file(from, name)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let copy = rustix::fs::openat(to, name, flags, Mode::from_raw_mode(0o600))?;
            rustix::fs::ioctl_ficlone(&copy, &source)?;
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(target.as_c_str(), to, name)?;
        }
        _ => rustix::fs::mknodat(to, name, kind, Mode::from_raw_mode(0o600), stat.st_rdev)?,
    }
    dress_entry(&place(from, name)?, &place(to, name)?, stat)
}

/// Gives an open directory the owner, mode, attributes and times of another.
pub(super) fn dress(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    let stat = rustix::fs::fstat(from)?;
    // Not the link in /proc itself, but what it is of.
    dress_entry(&place(from, b".")?, &place(to, b".")?, &stat)
}

/// The times come last: everything before changes them.
fn dress_entry(from: &CString, to: &CString, stat: &Stat) -> Result<()> {
    let here = rustix::fs::CWD;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(here, to, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        rustix::fs::chmodat(here, to, Mode::from_raw_mode(stat.st_mode), AtFlags::empty())?;
    }
    copy_attributes(from, to)?;
    #[allow(clippy::cast_possible_wrap, reason = "nanoseconds of a second")]
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as i64 },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as i64 },
    };
    rustix::fs::utimensat(here, to, &times, AtFlags::SYMLINK_NOFOLLOW)
}

fn copy_attributes(from: &CString, to: &CString) -> Result<()> {
    let mut names = Vec::with_capacity(LARGEST);
    match rustix::fs::llistxattr(from, rustix::buffer::spare_capacity(&mut names)) {
        Ok(_) => {}
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(e) => return Err(e),
    }
    for name in names.split(|byte| *byte == 0) {
        if name.is_empty() || name.starts_with(ACL_COPIES) {
            continue;
        }
        let mut value = Vec::with_capacity(LARGEST);
        rustix::fs::lgetxattr(from, name, rustix::buffer::spare_capacity(&mut value))?;
        rustix::fs::lsetxattr(to, name, &value, XattrFlags::empty())?;
    }
    Ok(())
}

/// A path to an entry of an open directory, whatever has become of the directory's own path.
fn place(dir: BorrowedFd<'_>, name: &[u8]) -> Result<CString> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    CString::new(path).map_err(|_| Errno::INVAL)
}
