use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use model::{Bytes, VolumeId};
use rustix::io::Errno;

use crate::exec::ExecError;

/// Why the node's hands could not do what was asked. Nothing was written to a device unless the text says so.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// What was asked for cannot be right.
    #[error("{what} `{value}` {problem}")]
    Invalid { what: &'static str, value: String, problem: String },
    #[error("volume `{0}` is not attached on this node; attach it first")]
    NotAttached(VolumeId),
    /// The source of a volume, or something that stood between it and its mounts, is not there any more.
    #[error("volume `{volume}`: {problem}")]
    Missing { volume: VolumeId, problem: String },
    /// What is attached is not what was asked for.
    #[error("volume `{volume}`: {problem}")]
    Conflict { volume: VolumeId, problem: String },
    #[error("volume `{volume}` is {wanted} by its record but {found} on this node ({at}); wait for the backend to \
             grow it, or correct the record", at = at.display())]
    Size { volume: VolumeId, wanted: Bytes, found: Bytes, at: PathBuf },
    #[error("volume `{volume}` is still mounted for {}; unmount these first", list(references))]
    InUse { volume: VolumeId, references: BTreeSet<String> },
    #[error("volume `{volume}`: {subject} is held by {holders}; stop what holds it and try again")]
    Busy { volume: VolumeId, subject: String, holders: String },
    /// The device may hold somebody's data, or is not the one that was staged.
    #[error("volume `{volume}`: {device} was left as it is: {reason}", device = device.display())]
    Refused { volume: VolumeId, device: PathBuf, reason: String },
    /// What was begun goes on, and keeps the volume until it ends.
    #[error(
        "volume `{volume}`: could not {doing} within {limit:?}: its storage does not answer, and what is not \
             written yet is kept for it; try again when it is back"
    )]
    Unanswered { volume: VolumeId, doing: &'static str, limit: std::time::Duration },
    /// Its storage does not let this node in, or is not who it should be.
    #[error("volume `{volume}`: {problem}")]
    Denied { volume: VolumeId, problem: String },
    /// Its storage does not answer at all.
    #[error("volume `{volume}`: {problem}")]
    Unreachable { volume: VolumeId, problem: String },
    #[error("volume `{volume}`: {problem}")]
    Unsupported { volume: VolumeId, problem: String },
    #[error(transparent)]
    Tool(#[from] ExecError),
    #[error("could not {doing}{}", if hint.is_empty() { String::new() } else { format!(": {hint}") })]
    System {
        doing: String,
        hint: String,
        #[source]
        source: io::Error,
    },
}

impl HostError {
    /// Whether a device could not be opened because nothing is behind it now.
    pub(crate) fn is_gone(&self) -> bool {
        let HostError::System { source, .. } = self else { return false };
        matches!(Errno::from_io_error(source), Some(Errno::NXIO | Errno::NODEV))
    }
}

pub(crate) type Result<T, E = HostError> = std::result::Result<T, E>;

/// Says what was being done when a system call failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| HostError::System { doing: what(), hint: String::new(), source: e.into() })
    }
}

fn list(references: &BTreeSet<String>) -> String {
    const SHOWN: usize = 3;
    let mut text = references.iter().take(SHOWN).map(|r| format!("`{r}`")).collect::<Vec<_>>().join(", ");
    if references.len() > SHOWN {
        text.push_str(&format!(" and {} more", references.len() - SHOWN));
    }
    text
}
