//! Programs and modules in Go that tests need, fetched and built once a user: the project's own judge of CSI plugins, and
//! the compiler for those of other suites.

mod go;
mod sanity;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

pub use go::Go;
pub use sanity::{Judged, Sanity};

const SPEC: &str = "github.com/container-storage-interface/spec";

/// The folder of the official protocol of CSI.
///
/// # Errors
/// It cannot be had.
pub fn spec() -> Result<PathBuf> {
    let cache = cache()?;
    let _alone = lock(&cache, "csi-sanity")?;
    Go::find(&cache)?.folder_of(&sanity::module(), SPEC)
}

/// Where what was built is kept for all checkouts of a user.
///
/// # Errors
/// The user has no home.
pub fn cache() -> Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let folder = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let cache = folder.context("neither XDG_CACHE_HOME nor HOME is set")?.join("leister");
    fs::create_dir_all(&cache)?;
    Ok(cache)
}

/// Two runs at once make a thing once.
///
/// # Errors
/// The lock's file cannot be made.
pub fn lock(cache: &Path, what: &str) -> Result<File> {
    let lock = File::create(cache.join(format!("{what}.lock")))?;
    lock.lock()?;
    Ok(lock)
}

/// The version of a module that a folder's `go.mod` names.
///
/// # Errors
/// It names none.
pub fn version(module: &Path, name: &str) -> Result<String> {
    let text = fs::read_to_string(module.join("go.mod"))?;
    let line = text.lines().find(|line| line.split_whitespace().any(|word| word == name));
    let version = line.and_then(|line| line.split_whitespace().last());
    Ok(version.with_context(|| format!("go.mod names no {name}"))?.to_owned())
}
