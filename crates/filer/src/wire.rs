//! What goes over the wire between a filer and its clients: JSON over HTTPS, under `/v1`.

use std::collections::BTreeSet;

use model::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{ErrorKind, FilerError};
use crate::pool::PoolStats;
use crate::volume::{CreateVolume, Layout, Outcome};

/// A filer's pool, as its clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolView {
    pub name: String,
    pub stats: PoolStats,
    /// How many times its shared space it may promise to thin volumes.
    pub overcommit: f64,
    pub layouts: BTreeSet<Layout>,
    /// Sizes are whole multiples of it.
    pub granularity: Bytes,
    pub smallest: Bytes,
    /// Whether it can take over what is there.
    pub imports: bool,
    /// Whether it can set space aside for a volume.
    #[serde(default = "yes")]
    pub thick: bool,
    /// What nodes can reach its volumes by.
    pub wires: Vec<Wire>,
}

/// What a filer of an earlier release does not say.
fn yes() -> bool {
    true
}

/// What carries a volume's bytes to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    Nfs,
    Iscsi,
    Nvme,
}

/// The label of a volume that says which wire its nodes reach it by, from its first day to its last.
pub const WIRE_LABEL: &str = "leister.io/wire";

/// Which instance of the tenant asks.
pub(crate) const INSTANCE: &str = "leister-instance";
/// `CLIENT-NUMBER`: of two requests of one client for one volume the one with the lower number came first.
pub(crate) const TURN: &str = "leister-turn";
/// One word per request, in the logs of both sides.
pub(crate) const REQUEST: &str = "x-request-id";

/// What a mutation did.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply<T> {
    changed: bool,
    state: T,
}

/// Why a request was not done.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grow {
    pub(crate) size: Bytes,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Import {
    /// The name that it has at the pool's root, without the tenant's.
    pub(crate) original: String,
    pub(crate) wanted: CreateVolume,
}

impl Wire {
    pub const ALL: [Wire; 3] = [Wire::Nfs, Wire::Iscsi, Wire::Nvme];

    pub const fn as_str(self) -> &'static str {
        match self {
            Wire::Nfs => "nfs",
            Wire::Iscsi => "iscsi",
            Wire::Nvme => "nvme",
        }
    }

    pub const fn carries(self, layout: Layout) -> bool {
        matches!((self, layout), (Wire::Nfs, Layout::File) | (Wire::Iscsi | Wire::Nvme, Layout::Block))
    }
}

impl std::fmt::Display for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Wire {
    type Err = String;
    fn from_str(text: &str) -> Result<Wire, String> {
        Wire::ALL
            .into_iter()
            .find(|wire| wire.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("`{text}` is no wire; write nfs, iscsi or nvme"))
    }
}

impl<T> From<Outcome<T>> for Reply<T> {
    fn from(outcome: Outcome<T>) -> Reply<T> {
        Reply { changed: outcome.changed(), state: outcome.into_state() }
    }
}

impl<T> From<Reply<T>> for Outcome<T> {
    fn from(reply: Reply<T>) -> Outcome<T> {
        if reply.changed { Outcome::Changed(reply.state) } else { Outcome::Unchanged(reply.state) }
    }
}

impl From<&FilerError> for Refusal {
    fn from(error: &FilerError) -> Refusal {
        let mut message = error.to_string();
        if let FilerError::Io { source, .. } = error {
            message = format!("{message}: {source}");
        }
        Refusal { kind: error.kind(), message }
    }
}

impl From<Refusal> for FilerError {
    fn from(Refusal { kind, message }: Refusal) -> FilerError {
        match kind {
            ErrorKind::Invalid => FilerError::Invalid(message),
            ErrorKind::NotFound => FilerError::NotFound(message),
            ErrorKind::Conflict => FilerError::Conflict(message),
            ErrorKind::Busy => FilerError::Busy(message),
            ErrorKind::InUse => FilerError::InUse(message),
            ErrorKind::NoCapacity => FilerError::NoCapacity(message),
            ErrorKind::Unsupported => FilerError::Unsupported(message),
            ErrorKind::Denied => FilerError::Denied(message),
            // A device over there that fails may come back.
            ErrorKind::Unreachable | ErrorKind::Io => FilerError::Unreachable(message),
        }
    }
}
