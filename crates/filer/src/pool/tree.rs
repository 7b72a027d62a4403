//! What pools on file systems have in common: directories, records in extended attributes, all relative to open
//! directories.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, RawMode, Uid, XattrFlags};
use rustix::io::{Errno, Result};
use rustix::path::Arg;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Context, FilerError};
use crate::volume::VolumeRecord;

/// At the pool's root: what only we need, the volumes, and what is on its way in or out.
pub(super) const CONTROL: &str = ".leister";
pub(super) const VOLUMES: &str = "volumes";
pub(super) const STAGING: &str = ".staging";
pub(super) const TRASH: &str = ".trash";
/// In a volume's or snapshot's directory: its content.
pub(super) const DATA: &str = "data";
pub(super) const SNAPSHOTS: &str = "snapshots";
/// The content of a block volume.
pub(super) const IMAGE: &str = "disk.img";
/// The extended attribute of a volume's or snapshot's directory that holds its record.
const RECORD: &str = "user.leister";

pub(super) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Of the files that a pool looks through or copies: each level takes two open files and a piece of the stack.
pub(super) const MAX_DEPTH: usize = 200;
/// Kept well under what one extended attribute holds.
const MAX_RECORD: usize = 12 << 10;

/// Names in a directory, without `.` and `..`.
pub(super) fn names(dir: impl AsFd) -> Result<Vec<String>> {
    Ok(raw_names(dir)?.into_iter().map(|name| String::from_utf8_lossy(&name).into_owned()).collect())
}

pub(super) fn open_dir(parent: impl AsFd, name: impl Arg) -> Result<OwnedFd> {
    rustix::fs::openat(parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

pub(super) fn make_dir(parent: impl AsFd, name: &str) -> Result<OwnedFd> {
    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700))?;
    open_dir(parent, name)
}

/// A file in the file system of `dir` that goes when it is closed.
pub(super) fn unnamed_file(dir: impl AsFd) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    rustix::fs::openat(dir, ".", flags, Mode::from_raw_mode(0o600))
}

pub(super) fn exists(parent: impl AsFd, name: &str) -> Result<bool> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Makes what directories a pool's root lacks.
pub(super) fn make_rooms(root: impl AsFd) -> Result<()> {
    for dir in [CONTROL, VOLUMES, STAGING, TRASH] {
        match rustix::fs::mkdirat(&root, dir, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

pub(super) fn volume_dir(handle: &str) -> String {
    format!("{VOLUMES}/{handle}")
}

pub(super) fn data_dir(handle: &str) -> String {
    format!("{VOLUMES}/{handle}/{DATA}")
}

pub(super) fn snapshots_dir(handle: &str) -> String {
    format!("{VOLUMES}/{handle}/{SNAPSHOTS}")
}

pub(super) fn snapshot_dir(handle: &str, name: &str) -> String {
    format!("{}/{name}", snapshots_dir(handle))
}

/// A name for staging or trash. The time keeps it apart from what an earlier process, perhaps of the same id, could
/// not remove.
pub(super) fn fresh_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", jiff::Timestamp::now().as_nanosecond(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Gives a new volume's root, in its stage, the owner and mode that were asked for.
pub(super) fn own(stage: impl AsFd, record: &VolumeRecord, fresh: bool) -> rustix::io::Result<()> {
    if record.uid.is_some() || record.gid.is_some() {
        let (uid, gid) = (record.uid.map(Uid::from_raw), record.gid.map(Gid::from_raw));
        rustix::fs::chownat(&stage, DATA, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    match record.mode.or(fresh.then_some(0o755)) {
        Some(mode) => rustix::fs::chmodat(&stage, DATA, Mode::from_raw_mode(mode), AtFlags::empty()),
        None => Ok(()),
    }
}

/// Gives a volume's root other permission bits.
pub(super) fn set_mode(root: impl AsFd, handle: &str, mode: u32) -> rustix::io::Result<()> {
    rustix::fs::chmodat(root, data_dir(handle), Mode::from_raw_mode(mode), AtFlags::empty())
}

pub(super) fn write_volume_record(dir: &OwnedFd, record: &VolumeRecord) -> crate::error::Result<()> {
    match write_record(dir, record) {
        Err(Errno::TOOBIG) => Err(FilerError::Invalid(format!(
            "the labels of volume `{}` are too long; keep name, labels and permits under 12 KiB together",
            record.handle
        ))),
        done => done.while_doing("write the record of", &record.handle),
    }
}

/// Replaces the record of an open directory in one step.
pub(super) fn write_record(dir: impl AsFd, record: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(record).map_err(|_| Errno::INVAL)?;
    if text.len() > MAX_RECORD {
        return Err(Errno::TOOBIG);
    }
    rustix::fs::fsetxattr(dir, RECORD, &text, XattrFlags::empty())
}

/// The record of the directory `name`; `None` if there is no such directory or it has none.
pub(super) fn read_record<T: DeserializeOwned>(
    parent: BorrowedFd<'_>,
    name: &str,
) -> std::io::Result<Option<T>> {
    let dir = match open_dir(parent, name) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let mut text = Vec::with_capacity(MAX_RECORD);
    match rustix::fs::fgetxattr(&dir, RECORD, rustix::buffer::spare_capacity(&mut text)) {
        Ok(_) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(Errno::NODATA) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// As the file system has them; nothing says that what containers write is UTF-8.
pub(super) fn raw_names(dir: impl AsFd) -> Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

pub(super) fn is_dir(mode: RawMode) -> bool {
    FileType::from_raw_mode(mode) == FileType::Directory
}
