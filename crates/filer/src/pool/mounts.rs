//! What is mounted where, and which file is behind a loop device.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

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
    let image = fs::canonicalize(image).while_doing("resolve", image)?;
    for entry in fs::read_dir("/sys/block").while_doing("list", "/sys/block")? {
        let name = entry.while_doing("list", "/sys/block")?.file_name().to_string_lossy().into_owned();
        if name.starts_with("loop") && backing(&name).is_some_and(|file| file == image) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The file behind a loop device; a deleted file's name ends in ` (deleted)`.
pub(super) fn backing(device: &str) -> Option<PathBuf> {
    let name = device.strip_prefix("/dev/").unwrap_or(device);
    let mut text = fs::read(format!("/sys/block/{name}/loop/backing_file")).ok()?;
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(text)))
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
