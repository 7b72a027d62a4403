//! What comes next. Pure: the record and what the backend shows decide, nothing else.

use model::{Bytes, NodeName, Owner, SnapshotName, SnapshotState, VolumeState};

use crate::record::{Goal, Origin, SnapshotRecord, VolumeRecord};

/// The one thing to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Create,
    Import {
        original: String,
    },
    Grow(Bytes),
    Restore(SnapshotName),
    Permit(NodeName),
    Forbid(NodeName),
    Delete,
    // Records only:
    Settle,
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
    /// Somebody else's volume has its name.
    Foreign(Owner),
    Done,
}

pub(crate) fn next(record: &VolumeRecord, seen: Option<&VolumeState>) -> Step {
    match record.goal {
        Goal::Exist => exist(record, seen),
        Goal::Gone => gone(record, seen),
    }
}

fn exist(record: &VolumeRecord, seen: Option<&VolumeState>) -> Step {
    let Some(seen) = seen else {
        // Data once existed: an incident, never an empty re-create.
        return match &record.origin {
            // Nobody reaches what is not there: an end of a publication needs nothing more.
            _ if record.settled => match record.published.iter().find(|(_, p)| p.goal == Goal::Gone) {
                Some((node, _)) => Step::Unpublish(node.clone()),
                None => Step::Missing,
            },
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
    if record.missing {
        return Step::Found;
    }
    if seen.size < record.spec.size {
        return Step::Grow(record.spec.size);
    }
    if let Some(size) = record.growing {
        return if seen.size < size { Step::Grow(size) } else { Step::Grown(size) };
    }
    if let Some(snapshot) = &record.restoring {
        return Step::Restore(snapshot.clone());
    }
    if !record.settled {
        return Step::Settle;
    }
    for (node, publication) in &record.published {
        match (publication.goal, seen.permitted.contains(node)) {
            (Goal::Exist, false) => return Step::Permit(node.clone()),
            (Goal::Gone, true) => return Step::Forbid(node.clone()),
            (Goal::Gone, false) => return Step::Unpublish(node.clone()),
            (Goal::Exist, true) => {}
        }
    }
    Step::Done
}

fn gone(record: &VolumeRecord, seen: Option<&VolumeState>) -> Step {
    let Some(seen) = seen else { return Step::Drop };
    // A take-over that never settled leaves the data as it was found; what is another's is not touched.
    let taken = !record.settled && record.origin != Origin::Made;
    if taken || !is_ours(record, seen) {
        return Step::Drop;
    }
    match seen.permitted.first() {
        Some(node) => Step::Forbid(node.clone()),
        None => Step::Delete,
    }
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

#[cfg(test)]
mod tests;
