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
    // At once: word for word, as JSON is written to a file, it is ten thousand system calls for a small array.
    file.write_all(format!("{state:#}").as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// How often this thread has written so far.
    fn writes() -> u64 {
        let said = fs::read_to_string("/proc/thread-self/io").unwrap();
        said.lines().find_map(|line| line.strip_prefix("syscw: ")).unwrap().parse().unwrap()
    }

    #[test]
    fn a_state_goes_to_its_file_at_once_however_many_objects_it_has() {
        let path = std::env::temp_dir().join(format!("sim-kit-{}.json", std::process::id()));
        let jobs: serde_json::Map<_, _> =
            (0..1_000).map(|job| (job.to_string(), json!({"state": "success"}))).collect();
        let state = json!({ "jobs": jobs });
        let before = writes();
        save(&path, &state).unwrap();
        let count = writes() - before;
        let loaded = load(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(loaded, Some(state));
        assert!(count < 10, "{count} writes");
    }
}
