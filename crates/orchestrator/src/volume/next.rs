//! What comes next. Pure: the record and what the backend shows decide, nothing else.

use std::sync::Arc;

use model::{Bytes, NodeName, Owner, SnapshotName, SnapshotState, VolumeState};

use crate::record::{Goal, Group, Origin, SnapshotRecord, VolumeRecord};

/// The one thing to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Create,
    Import {
        original: String,
    },
    Grow(Bytes),
    Modify,
    Restore(SnapshotName),
    Permit(NodeName),
    Forbid(NodeName),
    Delete,
    /// The record knows that a node has put it to use, the backend does not.
    MarkStaged,
    // Records only:
    Settle,
    /// The backend knows that a node has put it to use, the record does not.
    Staged,
    /// The node has its permit.
    Hold(NodeName),
    /// Another host has taken the permit of this node: it does not get it back.
    Fenced(NodeName),
    /// It has the size it was to grow to.
    Grown(Bytes),
    /// The node no longer reaches it: drop the publication.
    Unpublish(NodeName),
    /// It vanished behind our back.
    Missing,
    /// What was missing is back.
    Found,
    /// Nothing is left that is ours: drop the record.
    Drop,
    /// It shall be gone, but another host that shares the backend uses it on this node.
    Elsewhere(NodeName),
    /// Somebody else's volume has its name.
    Foreign(Owner),
    Done,
}

/// `own` is this node where other hosts share the backend, but not the records: then only what concerns this node is
/// decided here, and what is not in use here may go and change without us.
pub(crate) fn next(record: &VolumeRecord, seen: Option<&VolumeState>, own: Option<&NodeName>) -> Step {
    match record.goal {
        Goal::Exist => exist(record, seen, own),
        Goal::Gone => gone(record, seen, own),
    }
}

fn exist(record: &VolumeRecord, seen: Option<&VolumeState>, own: Option<&NodeName>) -> Step {
    let Some(seen) = seen else {
        // Data once existed: an incident, never an empty re-create.
        return match &record.origin {
            _ if record.settled => absent(record, own),
            Origin::Made => Step::Create,
            Origin::Imported { original } => Step::Import { original: original.clone() },
            Origin::Adopted => Step::Missing,
        };
    };
    if !is_ours(record, seen) {
        return match &record.origin {
            Origin::Imported { original } if !record.settled && seen.owner == Owner::Nobody => {
                Step::Import { original: original.clone() }
            }
            _ => Step::Foreign(seen.owner.clone()),
        };
    }
    if own.is_some() && is_later(record, seen) {
        return absent(record, own);
    }
    if !seen.complete {
        match record.settled {
            false if record.origin == Origin::Made => return Step::Create,
            // What there was of it is lost: no other thing than its absence.
            true if seen.size == Bytes::ZERO => return absent(record, own),
            _ => {}
        }
    }
    if record.missing {
        return Step::Found;
    }
    if seen.size < record.spec.size {
        return Step::Grow(record.spec.size);
    }
    if let Some(size) = record.growing {
        return if seen.size < size { Step::Grow(size) } else { Step::Grown(size) };
    }
    if !record.changing.is_empty() {
        return Step::Modify;
    }
    if let Some(snapshot) = &record.restoring {
        return Step::Restore(snapshot.clone());
    }
    if !record.settled {
        return Step::Settle;
    }
    if own.is_some() && seen.size > record.spec.size {
        return Step::Grown(seen.size);
    }
    match (record.staged, seen.staged) {
        (false, Some(true)) => return Step::Staged,
        (true, Some(false)) => return Step::MarkStaged,
        _ => {}
    }
    publications(record, seen, own)
}

/// Every node that shall not reach it any more is forbidden before another one is permitted.
fn publications(record: &VolumeRecord, seen: &VolumeState, own: Option<&NodeName>) -> Step {
    let (ending, wanted): (Vec<_>, Vec<_>) =
        record.published.iter().partition(|(_, publication)| publication.goal == Goal::Gone);
    if let Some((node, _)) = ending.first() {
        let node = NodeName::clone(node);
        return if seen.permitted.contains(&node) { Step::Forbid(node) } else { Step::Unpublish(node) };
    }
    for (node, publication) in wanted {
        match (seen.permitted.contains(node), publication.held) {
            (false, true) if !record.spec.access.is_shared() => return Step::Fenced(node.clone()),
            (false, _) => return Step::Permit(node.clone()),
            (true, false) if own.is_some() => return Step::Hold(node.clone()),
            (true, _) => {}
        }
    }
    Step::Done
}

/// It existed, and the backend has it no more.
fn absent(record: &VolumeRecord, own: Option<&NodeName>) -> Step {
    match record.published.iter().find(|(_, p)| p.goal == Goal::Gone) {
        // Nobody reaches what is not there: an end of a publication needs nothing more.
        Some((node, _)) => Step::Unpublish(node.clone()),
        // Another host has deleted what nobody here uses.
        None if own.is_some() && !record.is_held() => Step::Drop,
        None => Step::Missing,
    }
}

fn gone(record: &VolumeRecord, seen: Option<&VolumeState>, own: Option<&NodeName>) -> Step {
    let Some(seen) = seen else { return Step::Drop };
    // A take-over that never settled leaves the data as it was found; what is another's is not touched.
    let taken = !record.settled && record.origin != Origin::Made;
    if taken || !is_ours(record, seen) || (own.is_some() && is_later(record, seen)) {
        return Step::Drop;
    }
    let is_our_matter = |node: &&NodeName| own.is_none_or(|own| own == *node);
    match (seen.permitted.iter().find(is_our_matter), seen.permitted.first()) {
        (Some(node), _) => Step::Forbid(node.clone()),
        (None, Some(node)) => Step::Elsewhere(node.clone()),
        (None, None) => Step::Delete,
    }
}

/// Deleted and made anew by another host.
pub(crate) fn is_later(record: &VolumeRecord, seen: &VolumeState) -> bool {
    matches!((record.made, seen.created), (Some(made), Some(created)) if made != created)
}

fn is_ours(record: &VolumeRecord, seen: &VolumeState) -> bool {
    seen.owner == Owner::Ours && seen.volume.as_ref().is_none_or(|volume| *volume == record.id)
}

/// What comes next for a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotStep {
    Take,
    Settle,
    Delete,
    Drop,
    Done,
    /// It vanished: the array or somebody deleted it.
    Missing,
}

pub(crate) fn next_snapshot(record: &SnapshotRecord, seen: Option<&SnapshotState>) -> SnapshotStep {
    match (record.goal, seen) {
        (Goal::Exist, None) if record.settled => SnapshotStep::Missing,
        (Goal::Exist, None) => SnapshotStep::Take,
        (Goal::Exist, Some(_)) if record.settled => SnapshotStep::Done,
        (Goal::Exist, Some(_)) => SnapshotStep::Settle,
        (Goal::Gone, Some(_)) => SnapshotStep::Delete,
        (Goal::Gone, None) => SnapshotStep::Drop,
    }
}

/// What comes next for snapshots that are taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupStep {
    /// All of them, and then the records say so.
    Take,
    /// None of them shall be any more: the records first.
    Revoke,
    /// All of them, and then the records.
    Delete,
    Done,
}

/// What the backend has is asked for by doing: to take and to delete a group is idempotent, and ends what a death left.
pub(crate) fn next_group(group: &Group, records: &[Arc<SnapshotRecord>]) -> GroupStep {
    let gone = records.iter().filter(|record| record.goal == Goal::Gone).count();
    let is_whole = records.len() == group.members.len();
    let is_settled = records.iter().all(|record| record.settled);
    match gone {
        0 if is_settled => GroupStep::Done,
        0 if is_whole => GroupStep::Take,
        // A volume has gone before it was snapshotted with the others.
        0 => GroupStep::Revoke,
        some if some < records.len() => GroupStep::Revoke,
        _ => GroupStep::Delete,
    }
}

#[cfg(test)]
mod tests;
