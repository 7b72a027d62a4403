use std::path::PathBuf;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// What kind of mistake or misfortune an error is; callers decide by this, people read the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ErrorKind {
    Invalid,
    NotFound,
    Conflict,
    /// Something else is going on with it.
    Busy,
    InUse,
    NoCapacity,
    Unsupported,
    /// A filer elsewhere does not answer.
    Unreachable,
    /// A filer elsewhere does not believe us, or we do not believe it.
    Denied,
    Io,
}

/// Why the filer did not do what it was asked. Messages name the object and the way out.
#[derive(Debug, thiserror::Error)]
pub enum FilerError {
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Busy(String),
    #[error("{0}")]
    InUse(String),
    #[error("{0}")]
    NoCapacity(String),
    #[error("{0}")]
    Unsupported(String),
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    Denied(String),
    #[error("cannot {operation} {}{}", path.display(), advice(source))]
    Io {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

pub(crate) type Result<T> = std::result::Result<T, FilerError>;

impl FilerError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            FilerError::Invalid(_) => ErrorKind::Invalid,
            FilerError::NotFound(_) => ErrorKind::NotFound,
            FilerError::Conflict(_) => ErrorKind::Conflict,
            FilerError::Busy(_) => ErrorKind::Busy,
            FilerError::InUse(_) => ErrorKind::InUse,
            FilerError::NoCapacity(_) => ErrorKind::NoCapacity,
            FilerError::Unsupported(_) => ErrorKind::Unsupported,
            FilerError::Unreachable(_) => ErrorKind::Unreachable,
            FilerError::Denied(_) => ErrorKind::Denied,
            FilerError::Io { .. } => ErrorKind::Io,
        }
    }
}

impl FilerError {
    /// What it says, and what its causes say.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }

    /// The same refusal in other words; a system error keeps its own.
    pub(crate) fn reworded(self, change: impl FnOnce(&str) -> String) -> FilerError {
        match self {
            FilerError::Invalid(text) => FilerError::Invalid(change(&text)),
            FilerError::NotFound(text) => FilerError::NotFound(change(&text)),
            FilerError::Conflict(text) => FilerError::Conflict(change(&text)),
            FilerError::Busy(text) => FilerError::Busy(change(&text)),
            FilerError::InUse(text) => FilerError::InUse(change(&text)),
            FilerError::NoCapacity(text) => FilerError::NoCapacity(change(&text)),
            FilerError::Unsupported(text) => FilerError::Unsupported(change(&text)),
            FilerError::Unreachable(text) => FilerError::Unreachable(change(&text)),
            FilerError::Denied(text) => FilerError::Denied(change(&text)),
            system @ FilerError::Io { .. } => system,
        }
    }
}

/// Puts the operation and the path to a system error; a full pool becomes `NoCapacity`.
pub(crate) trait Context<T> {
    fn while_doing(self, operation: &'static str, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> Context<T> for std::result::Result<T, E> {
    fn while_doing(self, operation: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|e| {
            let (source, path) = (e.into(), path.into());
            match Errno::from_io_error(&source) {
                Some(Errno::NOSPC | Errno::DQUOT) => FilerError::NoCapacity(format!(
                    "cannot {operation} {}: the pool is full; delete volumes or snapshots, or enlarge the pool",
                    path.display()
                )),
                _ => FilerError::Io { operation, path, source },
            }
        })
    }
}

fn advice(source: &std::io::Error) -> &'static str {
    match Errno::from_io_error(source) {
        Some(Errno::IO) => {
            "; the device under the pool fails or has vanished: look at the kernel log and at the image file, \
             then restart to attach it again"
        }
        Some(Errno::ROFS) => {
            "; the kernel has made the pool read-only after an error: look at the kernel log, then unmount the \
             pool and open it again"
        }
        Some(Errno::PERM | Errno::ACCESS) => "; a pool needs root (CAP_SYS_ADMIN)",
        _ => "",
    }
}
