//! The state of an array in a file.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde_json::Value;

/// Reads a state; none when there is no such file.
///
/// # Errors
/// The file cannot be read, or is no JSON.
pub fn load(path: &Path) -> io::Result<Option<Value>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Writes a state in one step: a death leaves the old file or the new one.
///
/// # Errors
/// The file cannot be written.
pub fn save(path: &Path, state: &Value) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = fs::File::create(&new)?;
    serde_json::to_writer_pretty(&mut file, state)?;
    file.flush()?;
    file.sync_all()?;
    fs::rename(&new, path)
}
