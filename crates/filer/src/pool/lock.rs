use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{Context, FilerError, Result};

const LIMIT: Duration = Duration::from_secs(1);

/// Takes an exclusive lock for as long as the file is open, and leaves our process id in it.
pub(super) fn take(file: &Path, pool: &Path) -> Result<File> {
    let mut lock = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(file)
        .while_doing("open lock file", file)?;
    if !alone(&lock).while_doing("lock", file)? {
        let mut holder = String::new();
        lock.read_to_string(&mut holder).while_doing("read lock file", file)?;
        return Err(FilerError::Conflict(format!(
            "pool {} is in use by process {}; stop that one, or give this instance a pool of its own",
            pool.display(),
            holder.trim()
        )));
    }
    // The number only helps people, and a full disk must not keep the pool from being opened.
    if let Err(error) = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id())) {
        tracing::warn!(%error, file = %file.display(), "the lock file does not say who holds it");
    }
    Ok(lock)
}

/// Locks an open file; `false` if somebody else holds it. A tool that was just being started when its leister died
/// has the lock for a moment longer.
pub(super) fn alone(lock: &File) -> rustix::io::Result<bool> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_for_the_holders_name_is_locked_all_the_same() {
        let full = Path::new("/dev/full");
        let held = take(full, full).unwrap();
        assert!(!alone(&File::open(full).unwrap()).unwrap());
        drop(held);
    }

    #[test]
    fn a_lock_that_is_just_being_let_go_is_waited_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let held = take(file.path(), file.path()).unwrap();
        let waiting = File::open(file.path()).unwrap();
        let thread = std::thread::spawn(move || alone(&waiting).unwrap());
        drop(held);
        assert!(thread.join().unwrap());
    }
}
