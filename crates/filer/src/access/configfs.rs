//! Files, directories and links that are the kernel's own state. Each of these calls looks first and changes only
//! what differs.
//!
//! # Errors
//! Each of them says what it did, and to which path.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Context as _, Result};

/// Changes of the kernel that are left before this process dies; none is counted at first.
static LEFT: AtomicU32 = AtomicU32::new(u32::MAX);

pub(super) fn die_after(steps: u32) {
    LEFT.store(steps, Ordering::SeqCst);
}

/// Goes before each change of the kernel.
pub(super) fn step() {
    let left = LEFT.load(Ordering::SeqCst);
    if left == u32::MAX {
        return;
    }
    if left == 0 {
        std::process::abort();
    }
    LEFT.store(left - 1, Ordering::SeqCst);
}

pub fn read(path: &Path) -> Result<String> {
    let text = fs::read(path).while_doing("read", path)?;
    Ok(String::from_utf8_lossy(&text).trim_end_matches(['\n', '\0']).to_owned())
}

/// Whether it had to be changed.
pub fn directory(path: &Path) -> Result<bool> {
    if path.is_dir() {
        return Ok(false);
    }
    step();
    fs::create_dir_all(path).while_doing("create", path).map(|()| true)
}

pub fn value(path: &Path, value: &str) -> Result<bool> {
    if read(path)? == value {
        return Ok(false);
    }
    write(path, value).map(|()| true)
}

/// For files that say something else than what is written to them.
pub fn write(path: &Path, value: &str) -> Result<()> {
    step();
    fs::write(path, value).while_doing("write", path)
}

pub fn link(path: &Path, target: &Path) -> Result<bool> {
    if path.is_symlink() {
        return Ok(false);
    }
    step();
    symlink(target, path).while_doing("link", path).map(|()| true)
}

pub fn unlink(path: &Path) -> Result<bool> {
    if !path.is_symlink() {
        return Ok(false);
    }
    step();
    gone("unlink", path, fs::remove_file(path))
}

pub fn remove(path: &Path) -> Result<bool> {
    if !path.is_dir() {
        return Ok(false);
    }
    step();
    gone("remove", path, fs::remove_dir(path))
}

/// Names in a directory; none when it is not there.
pub fn names(path: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.while_doing("list", path)?,
    };
    let name = |entry: std::io::Result<fs::DirEntry>| {
        Ok(entry.while_doing("list", path)?.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

/// Those of the links in a directory, with what they lead to.
pub fn links(path: &Path) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for name in names(path)? {
        if let Ok(target) = fs::read_link(path.join(&name)) {
            let last = target.file_name().map(|n| n.to_string_lossy().into_owned());
            found.push((name, last.unwrap_or_default()));
        }
    }
    Ok(found)
}

fn gone(operation: &'static str, path: &Path, done: std::io::Result<()>) -> Result<bool> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        done => done.while_doing(operation, path).map(|()| true),
    }
}
