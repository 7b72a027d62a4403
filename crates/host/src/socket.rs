//! Unix sockets to serve on: one process each, the dead one's replaced.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tokio::net::{UnixListener, UnixStream};

/// A socket that is ours; removed when dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    inode: (u64, u64),
}

/// Why a socket cannot be ours.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("another process answers on {}", path.display())]
    Runs { path: PathBuf },
    #[error("{} is not a socket; it was left as it is", path.display())]
    Occupied { path: PathBuf },
    #[error("cannot {doing}")]
    System {
        doing: String,
        #[source]
        source: io::Error,
    },
}

impl Socket {
    /// Listens there, for the owner only.
    ///
    /// # Behavior
    /// The socket of a process that has died is replaced. It appears complete: listening, with its mode.
    ///
    /// # Errors
    /// `Runs` when somebody answers there, `Occupied` when it is something else.
    pub async fn claim(path: &Path) -> Result<(Socket, UnixListener), SocketError> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(directory).map_err(failed("make the directory", directory))?;
        let _alone = lock(directory).await?;
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(SocketError::Occupied { path: path.to_owned() });
            }
            Ok(_) if answers(path).await.map_err(failed("try", path))? => {
                return Err(SocketError::Runs { path: path.to_owned() });
            }
            Ok(_) => {
                tracing::info!(socket = %path.display(), "replacing the socket of a process that is gone")
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("look at", path)(error)),
        }
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        remove(&fresh).map_err(failed("remove", &fresh))?;
        let listener = UnixListener::bind(&fresh).map_err(failed("listen on", &fresh))?;
        fs::set_permissions(&fresh, Permissions::from_mode(0o600))
            .map_err(failed("set the mode of", &fresh))?;
        fs::rename(&fresh, path).map_err(failed("put in place", path))?;
        let inode = inode(path).map_err(failed("look at", path))?;
        Ok((Socket { path: path.to_owned(), inode }, listener))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Another instance may have taken the name since; its socket stays.
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = remove(&self.path);
        }
    }
}

/// Only one instance at a time looks for a stale socket and replaces it. Ends when dropped.
async fn lock(directory: &Path) -> Result<File, SocketError> {
    let owned = directory.to_owned();
    let locked = tokio::task::spawn_blocking(move || {
        let file = File::open(&owned)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    });
    locked.await.unwrap_or_else(|e| Err(io::Error::other(e))).map_err(failed("lock", directory))
}

/// Whether a process listens there: a full queue is one that does.
async fn answers(path: &Path) -> io::Result<bool> {
    match UnixStream::connect(path).await {
        Ok(_) => Ok(true),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock => Ok(true),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Ok(false),
            _ => Err(error),
        },
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|m| (m.dev(), m.ino()))
}

fn failed(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> SocketError {
    let doing = format!("{verb} {}", path.display());
    move |source| SocketError::System { doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_for_its_owner_only_and_goes_with_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let (socket, _listener) = Socket::claim(&directory.path().join("leister.sock")).await.unwrap();
        let path = socket.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(socket);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn the_socket_of_a_dead_process_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        drop(std::os::unix::net::UnixListener::bind(directory.path().join("leister.sock")).unwrap());
        let (_socket, _listener) = Socket::claim(&directory.path().join("leister.sock")).await.unwrap();
        let error = Socket::claim(&directory.path().join("leister.sock")).await.unwrap_err();
        assert!(matches!(error, SocketError::Runs { .. }), "{error}");
        assert!(directory.path().join("leister.sock").exists());
        Socket::claim(&directory.path().join("other.sock")).await.unwrap();
    }

    #[tokio::test]
    async fn of_many_that_start_at_once_exactly_one_gets_the_name() {
        let directory = tempfile::tempdir().unwrap();
        drop(std::os::unix::net::UnixListener::bind(directory.path().join("leister.sock")).unwrap());
        let claims = (0..16).map(|_| {
            let directory = directory.path().to_owned();
            tokio::spawn(async move { Socket::claim(&directory.join("leister.sock")).await })
        });
        let mut held = Vec::new();
        for claim in claims.collect::<Vec<_>>() {
            held.extend(claim.await.unwrap().ok());
        }
        assert_eq!(held.len(), 1);
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("leister.sock"), "mine").unwrap();
        let error = Socket::claim(&directory.path().join("leister.sock")).await.unwrap_err();
        assert!(matches!(error, SocketError::Occupied { .. }), "{error}");
        assert_eq!(fs::read(directory.path().join("leister.sock")).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn a_socket_that_another_took_over_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let (first, listener) = Socket::claim(&directory.path().join("leister.sock")).await.unwrap();
        drop(listener);
        let (second, _listener) = Socket::claim(&directory.path().join("leister.sock")).await.unwrap();
        drop(first);
        assert!(second.path().exists());
    }
}
