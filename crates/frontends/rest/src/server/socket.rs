use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tokio::net::{UnixListener, UnixStream};

use super::RestError;

/// A socket that is ours; removed when dropped.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    inode: (u64, u64),
}

impl Socket {
    /// Listens there, for the owner only. It appears complete: listening, with its mode.
    pub(super) async fn claim(path: &Path) -> Result<(Socket, UnixListener), RestError> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(directory).map_err(failed("make the directory", directory))?;
        let _alone = lock(directory).await.map_err(failed("lock", directory))?;
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(RestError::Occupied { path: path.to_owned() });
            }
            Ok(_) if answers(path).await.map_err(failed("try", path))? => {
                return Err(RestError::Runs { path: path.to_owned() });
            }
            Ok(_) => {
                tracing::info!(socket = %path.display(), "replacing the socket of a process that is gone");
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed("look at", path)(e)),
        }
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        match fs::remove_file(&fresh) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &fresh)(e)),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh).map_err(failed("listen on", path))?;
        fs::set_permissions(&fresh, Permissions::from_mode(0o600))
            .map_err(failed("set the mode of", &fresh))?;
        fs::rename(&fresh, path).map_err(failed("put in place", path))?;
        let inode = inode(path).map_err(failed("look at", path))?;
        Ok((Socket { path: path.to_owned(), inode }, listener))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Another instance may have taken the path since; its socket stays.
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Only one process at a time looks for a stale socket and replaces it. Ends when dropped.
async fn lock(directory: &Path) -> io::Result<File> {
    let owned = directory.to_owned();
    let locked = tokio::task::spawn_blocking(move || {
        let file = File::open(&owned)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    });
    locked.await.unwrap_or_else(|e| Err(io::Error::other(e)))
}

/// Whether a process listens there: a full queue is one that does.
async fn answers(path: &Path) -> io::Result<bool> {
    match UnixStream::connect(path).await {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(false),
        Err(e) => Err(e),
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RestError {
    let path = path.to_owned();
    move |source| RestError::Socket { verb, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_a_live_one_refused_a_file_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/rest.sock");
        let (socket, listener) = Socket::claim(&path).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(Socket::claim(&path).await, Err(RestError::Runs { .. })));

        // The process dies: the listener is gone, the file stays.
        drop(listener);
        let (second, listener) = Socket::claim(&path).await.unwrap();
        drop(socket);
        assert!(path.exists(), "the first owner must not remove the second one's socket");
        drop((second, listener));
        assert!(!path.exists());

        fs::write(&path, "data").unwrap();
        assert!(matches!(Socket::claim(&path).await, Err(RestError::Occupied { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"data");
    }
}
