//! What is mounted where, and which file is behind a loop device.

use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::{Context, Result};
use crate::ioctl::loops;

#[derive(Debug)]
pub(super) struct Mount {
    pub(super) kind: String,
    pub(super) device: String,
}

/// The topmost mount at exactly `path`.
pub(super) fn at(path: &Path) -> Result<Option<Mount>> {
    let table = fs::read("/proc/self/mountinfo").while_doing("read", "/proc/self/mountinfo")?;
    Ok(table.split(|byte| *byte == b'\n').filter_map(|line| parse(line, path)).next_back())
}

/// The loop device (`loop7`) that has `image` behind it.
pub(super) fn loop_of(image: &Path) -> Result<Option<String>> {
    for entry in fs::read_dir("/sys/block").while_doing("list", "/sys/block")? {
        let name = entry.while_doing("list", "/sys/block")?.file_name().to_string_lossy().into_owned();
        if name.starts_with("loop") && has_behind(&name, image)? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Whether the file behind a loop device is `image`.
///
/// # Behavior
/// It is asked for by its inode: the path that the kernel names is the one in the mount namespace of who attached it,
/// and of that as much as is left of it.
pub(super) fn has_behind(device: &str, image: &Path) -> Result<bool> {
    let image = fs::canonicalize(image).while_doing("resolve", image)?;
    // The last name is always there. Devices of others are not opened: who is about to detach one would find it in use.
    if backing(device).is_none_or(|file| file.file_name() != image.file_name()) {
        return Ok(false);
    }
    let path = Path::new("/dev").join(name_of(device));
    let device = match File::open(&path) {
        // Gone by now.
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::NXIO | Errno::NOENT)) => return Ok(false),
        opened => opened.while_doing("open", path)?,
    };
    let file = fs::metadata(&image).while_doing("look at", &image)?;
    Ok(loops::behind(device).is_ok_and(|behind| behind == (file.dev(), file.ino())))
}

/// The file behind a loop device, as the kernel names it; a deleted file's name ends in ` (deleted)`.
pub(super) fn backing(device: &str) -> Option<PathBuf> {
    let mut text = fs::read(format!("/sys/block/{}/loop/backing_file", name_of(device))).ok()?;
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(text)))
}

fn name_of(device: &str) -> &str {
    device.strip_prefix("/dev/").unwrap_or(device)
}

fn parse(line: &[u8], path: &Path) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    if unescape(fields.nth(4)?) != path {
        return None;
    }
    fields.find(|field| *field == b"-")?;
    let mut text = || Some(String::from_utf8_lossy(fields.next()?).into_owned());
    Some(Mount { kind: text()?, device: text()? })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(bytes: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = (bytes[at] == b'\\')
            .then(|| std::str::from_utf8(bytes.get(at + 1..at + 4)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(octal.unwrap_or(bytes[at]));
        at += if octal.is_some() { 4 } else { 1 };
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_beside_one_whose_name_is_no_text() {
        let line = b"36 35 98:0 / /a\\040b rw shared:7 - btrfs /dev/loop7 rw";
        let mount = parse(line, Path::new("/a b")).unwrap();
        assert_eq!((mount.kind.as_str(), mount.device.as_str()), ("btrfs", "/dev/loop7"));
        assert!(parse(b"37 35 0:44 / /caf\xe9 rw - tmpfs x rw", Path::new("/a b")).is_none());
        assert!(parse(b"", Path::new("/")).is_none());
    }
}
