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
    lock.set_len(0).while_doing("write lock file", file)?;
    write!(lock, "{}", std::process::id()).while_doing("write lock file", file)?;
    Ok(lock)
}
