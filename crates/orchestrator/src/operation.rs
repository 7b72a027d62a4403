//! Work as people see it: who asked for what, how far it is, how it ended.

use std::fmt;

use jiff::Timestamp;
use model::{BackendName, OperationId, SnapshotName, VolumeId};

use crate::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    Create,
    Clone,
    Import,
    Adopt,
    Grow,
    Modify,
    Delete,
    Forget,
    Take,
    TakeGroup,
    DeleteSnapshot,
    DeleteGroup,
    Restore,
    Publish,
    Unpublish,
    Fence,
    Find,
    MarkStaged,
    Reconcile,
}

#[derive(Clone, Debug)]
pub enum OperationState {
    /// What it is doing now, such as `creating volume on backend`.
    Running {
        stage: &'static str,
    },
    Done,
    Failed(Error),
}

/// One operation, running or among the latest ended ones.
#[derive(Clone, Debug)]
pub struct OperationView {
    pub id: OperationId,
    pub verb: Verb,
    pub volume: VolumeId,
    pub snapshot: Option<SnapshotName>,
    pub backend: Option<BackendName>,
    pub state: OperationState,
    pub started: Timestamp,
    pub ended: Option<Timestamp>,
    /// How many requests wait or waited for it.
    pub joined: u64,
}

impl Verb {
    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Clone => "clone",
            Verb::Import => "import",
            Verb::Adopt => "adopt",
            Verb::Grow => "grow",
            Verb::Modify => "modify",
            Verb::Delete => "delete",
            Verb::Forget => "forget",
            Verb::Take => "snapshot",
            Verb::TakeGroup => "snapshot-group",
            Verb::DeleteSnapshot => "delete-snapshot",
            Verb::DeleteGroup => "delete-group",
            Verb::Restore => "restore",
            Verb::Publish => "publish",
            Verb::Unpublish => "unpublish",
            Verb::Fence => "fence",
            Verb::Find => "find",
            Verb::MarkStaged => "mark-staged",
            Verb::Reconcile => "reconcile",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
