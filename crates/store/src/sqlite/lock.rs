//! Keeps a second process out of the file.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::unavailable;
use crate::StoreError;

/// An exclusive `flock` on `<path>.lock`, whose content tells a person who has it.
///
/// The file stays when the lock is given up: removing it could split the lock in two.
#[derive(Debug)]
pub(super) struct ProcessLock {
    file: File,
}

impl ProcessLock {
    pub(super) fn take(path: &Path) -> Result<ProcessLock, StoreError> {
        let failed = |error: std::io::Error| unavailable("lock the store", error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(super::schema::beside(path, ".lock"))
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // Its content is for people; without it the refusal is as true.
                let _ = file.read_to_string(&mut holder);
                let holder = holder.trim();
                let holder = if holder.is_empty() { "another process" } else { holder };
                return Err(StoreError::Held { holder: holder.to_owned() });
            }
            Err(error) => return Err(failed(error.into())),
        }
        let mut lock = ProcessLock { file };
        lock.describe(None);
        Ok(lock)
    }

    /// Writes who has the lock. A failure is only logged: the lock itself holds.
    pub(super) fn describe(&mut self, holder: Option<&str>) {
        let pid = std::process::id();
        let text = match holder {
            Some(holder) => format!("`{holder}` (process {pid})\n"),
            None => format!("process {pid}\n"),
        };
        if let Err(error) = self.rewrite(&text) {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot note who has the store");
        }
    }

    fn rewrite(&mut self, text: &str) -> std::io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)
    }
}

impl Drop for ProcessLock {
    fn drop(&mut self) {
        // Closing would not do: a child being started may hold a copy of the descriptor for a moment.
        let _ = self.file.set_len(0);
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}
