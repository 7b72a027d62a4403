use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a node reaches a volume: all that the node's hands need to attach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Route {
    /// The storage is on this very machine.
    Local { source: LocalSource },
}

/// What a local route leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum LocalSource {
    /// A directory, to be bind-mounted. `snapshots` is shown read-only at `.snapshot` inside it when set.
    Directory { path: PathBuf, snapshots: Option<PathBuf> },
    /// A file that holds a block device's content, to be attached as a loop device.
    Image { path: PathBuf },
}
