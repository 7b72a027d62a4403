use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::{Context, FilerError, Result};

/// Takes an exclusive lock for as long as the file is open, and leaves our process id in it.
pub(super) fn take(file: &Path, pool: &Path) -> Result<File> {
    let mut lock = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(file)
        .while_doing("open lock file", file)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            lock.read_to_string(&mut holder).while_doing("read lock file", file)?;
            return Err(FilerError::Conflict(format!(
                "pool {} is in use by process {}; stop that one, or give this instance a pool of its own",
                pool.display(),
                holder.trim()
            )));
        }
        Err(e) => return Err(e).while_doing("lock", file),
    }
    // The number only helps people, and a full disk must not keep the pool from being opened.
    if let Err(error) = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id())) {
        tracing::warn!(%error, file = %file.display(), "the lock file does not say who holds it");
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_for_the_holders_name_is_locked_all_the_same() {
        let full = Path::new("/dev/full");
        let held = take(full, full).unwrap();
        let other = File::open(full).unwrap();
        assert_eq!(
            flock(&other, FlockOperation::NonBlockingLockExclusive),
            Err(rustix::io::Errno::WOULDBLOCK)
        );
        drop(held);
    }
}
