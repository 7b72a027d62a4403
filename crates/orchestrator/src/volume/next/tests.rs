use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::{
    AccessMode, BackendName, Handle, InstanceId, Layout, PoolName, Provisioning, VolumeId, VolumeOptions,
    VolumeSpec,
};

use super::*;
use crate::record::Publication;

fn record() -> VolumeRecord {
    VolumeRecord {
        format: 1,
        id: VolumeId::new("v").unwrap(),
        backend: BackendName::new("b").unwrap(),
        pool: PoolName::new("p").unwrap(),
        handle: Handle::new("h").unwrap(),
        spec: VolumeSpec {
            size: Bytes::gib(1),
            layout: Layout::File,
            filesystem: None,
            provisioning: Provisioning::Thin,
            access: AccessMode::ReadWriteOnce,
            class: None,
            source: None,
            options: VolumeOptions::new(),
            mount_options: Vec::new(),
            labels: BTreeMap::new(),
        },
        goal: Goal::Exist,
        settled: true,
        origin: Origin::Made,
        published: BTreeMap::new(),
        fenced: BTreeMap::new(),
        made: None,
        staged: false,
        growing: None,
        changing: VolumeOptions::new(),
        restoring: None,
        trouble: None,
        missing: false,
        created: Timestamp::UNIX_EPOCH,
    }
}

fn seen() -> VolumeState {
    VolumeState {
        handle: Handle::new("h").unwrap(),
        owner: Owner::Ours,
        volume: Some(VolumeId::new("v").unwrap()),
        pool: PoolName::new("p").unwrap(),
        size: Bytes::gib(1),
        used: None,
        layout: Layout::File,
        provisioning: Provisioning::Thin,
        permitted: BTreeSet::new(),
        staged: None,
        created: None,
        complete: true,
        made_as: None,
    }
}

fn node() -> NodeName {
    NodeName::new("n").unwrap()
}

fn published(goal: Goal) -> BTreeMap<NodeName, Publication> {
    BTreeMap::from([(node(), publication(goal))])
}

fn publication(goal: Goal) -> Publication {
    Publication { goal, read_only: false, since: None, held: false, kept: false }
}

fn imported() -> Origin {
    Origin::Imported { original: "old".into() }
}

#[test]
fn every_state_has_one_next_step() {
    let unsettled = || VolumeRecord { settled: false, ..record() };
    let gone = || VolumeRecord { goal: Goal::Gone, ..record() };
    let foreign = || VolumeState { owner: Owner::Other(InstanceId::new("x").unwrap()), ..seen() };
    let nobodys = || VolumeState { owner: Owner::Nobody, ..seen() };
    let other_volume = || VolumeState { volume: Some(VolumeId::new("w").unwrap()), ..seen() };
    let permitted = || VolumeState { permitted: BTreeSet::from([node()]), ..seen() };
    let small = || VolumeState { size: Bytes::mib(1), ..seen() };
    let half = || VolumeState { complete: false, ..seen() };
    let hollow = || VolumeState { size: Bytes::ZERO, ..half() };
    let snapshot = SnapshotName::new("s").unwrap();
    let import = Step::Import { original: "old".into() };

    let table: Vec<(&str, VolumeRecord, Option<VolumeState>, Step)> = vec![
        ("new", unsettled(), None, Step::Create),
        ("made, not yet settled", unsettled(), Some(seen()), Step::Settle),
        ("half made", unsettled(), Some(half()), Step::Create),
        ("half made, nothing of it yet", unsettled(), Some(hollow()), Step::Create),
        (
            "half made and unwanted",
            VolumeRecord { goal: Goal::Gone, ..unsettled() },
            Some(hollow()),
            Step::Delete,
        ),
        ("settled, and hollow now: an incident", record(), Some(hollow()), Step::Missing),
        ("settled, and not independent yet", record(), Some(half()), Step::Done),
        ("settled and there", record(), Some(seen()), Step::Done),
        ("settled and gone: an incident", record(), None, Step::Missing),
        (
            "gone, and no longer wanted by a node",
            VolumeRecord { published: published(Goal::Gone), ..record() },
            None,
            Step::Unpublish(node()),
        ),
        ("back again", VolumeRecord { missing: true, ..record() }, Some(seen()), Step::Found),
        ("too small", record(), Some(small()), Step::Grow(Bytes::gib(1))),
        (
            "to grow",
            VolumeRecord { growing: Some(Bytes::gib(2)), ..record() },
            Some(seen()),
            Step::Grow(Bytes::gib(2)),
        ),
        (
            "grown",
            VolumeRecord { growing: Some(Bytes::mib(512)), ..record() },
            Some(seen()),
            Step::Grown(Bytes::mib(512)),
        ),
        ("another's", record(), Some(foreign()), Step::Foreign(foreign().owner)),
        ("nobody's", unsettled(), Some(nobodys()), Step::Foreign(Owner::Nobody)),
        ("ours, another volume", unsettled(), Some(other_volume()), Step::Foreign(Owner::Ours)),
        (
            "to be restored",
            VolumeRecord { restoring: Some(snapshot.clone()), ..record() },
            Some(seen()),
            Step::Restore(snapshot),
        ),
        ("import", VolumeRecord { origin: imported(), ..unsettled() }, None, import.clone()),
        ("import in place", VolumeRecord { origin: imported(), ..unsettled() }, Some(nobodys()), import),
        (
            "import of another's",
            VolumeRecord { origin: imported(), ..unsettled() },
            Some(foreign()),
            Step::Foreign(foreign().owner),
        ),
        (
            "adopted but not there",
            VolumeRecord { origin: Origin::Adopted, ..unsettled() },
            None,
            Step::Missing,
        ),
        (
            "published, no permit",
            VolumeRecord { published: published(Goal::Exist), ..record() },
            Some(seen()),
            Step::Permit(node()),
        ),
        (
            "published and permitted",
            VolumeRecord { published: published(Goal::Exist), ..record() },
            Some(permitted()),
            Step::Done,
        ),
        (
            "to be unpublished",
            VolumeRecord { published: published(Goal::Gone), ..record() },
            Some(permitted()),
            Step::Forbid(node()),
        ),
        (
            "forbidden already",
            VolumeRecord { published: published(Goal::Gone), ..record() },
            Some(seen()),
            Step::Unpublish(node()),
        ),
        ("a stray permit is not ours to judge here", record(), Some(permitted()), Step::Done),
        ("to be deleted", gone(), Some(seen()), Step::Delete),
        ("to be deleted, still permitted", gone(), Some(permitted()), Step::Forbid(node())),
        ("deleted", gone(), None, Step::Drop),
        ("never delete another's", gone(), Some(foreign()), Step::Drop),
        ("never delete nobody's", gone(), Some(nobodys()), Step::Drop),
        ("never delete another volume", gone(), Some(other_volume()), Step::Drop),
        (
            "a failed import keeps the data",
            VolumeRecord { origin: imported(), settled: false, ..gone() },
            Some(seen()),
            Step::Drop,
        ),
        (
            "a settled import may be deleted",
            VolumeRecord { origin: imported(), ..gone() },
            Some(seen()),
            Step::Delete,
        ),
        (
            "a failed adoption keeps the data",
            VolumeRecord { origin: Origin::Adopted, settled: false, ..gone() },
            Some(seen()),
            Step::Drop,
        ),
    ];
    for (name, record, seen, expected) in table {
        assert_eq!(next(&record, seen.as_ref(), None), expected, "{name}");
    }
}

#[test]
fn every_ended_publication_is_forbidden_before_another_node_is_permitted() {
    let name = |name: &str| NodeName::new(name).unwrap();
    for (old, new) in [("a", "b"), ("b", "a")] {
        let both =
            BTreeMap::from([(name(old), publication(Goal::Gone)), (name(new), publication(Goal::Exist))]);
        let record = VolumeRecord { published: both, ..record() };
        let seen = VolumeState { permitted: BTreeSet::from([name(old)]), ..seen() };
        assert_eq!(next(&record, Some(&seen), None), Step::Forbid(name(old)));
    }
}

#[test]
fn a_mark_of_use_goes_from_whoever_has_it_to_the_other() {
    let marked = |staged| VolumeState { staged, ..seen() };
    let staged = VolumeRecord { staged: true, ..record() };
    assert_eq!(next(&record(), Some(&marked(Some(true))), None), Step::Staged);
    assert_eq!(next(&staged, Some(&marked(Some(false))), None), Step::MarkStaged);
    assert_eq!(next(&staged, Some(&marked(None)), None), Step::Done);
}

#[test]
fn where_hosts_share_a_backend_only_the_own_node_is_our_matter() {
    let own = NodeName::new("n").unwrap();
    let other = NodeName::new("o").unwrap();
    let there = |nodes: &[&NodeName]| VolumeState {
        permitted: nodes.iter().copied().cloned().collect(),
        created: Some(Timestamp::UNIX_EPOCH),
        ..seen()
    };
    let held = BTreeMap::from([(node(), Publication { held: true, ..publication(Goal::Exist) })]);
    let in_use = VolumeRecord { published: held, ..record() };
    let gone = || VolumeRecord { goal: Goal::Gone, ..record() };
    let later = Some(Timestamp::from_second(9).unwrap());
    let large = VolumeState { size: Bytes::gib(2), ..seen() };
    let table: Vec<(&str, VolumeRecord, Option<VolumeState>, Step)> = vec![
        ("deleted by another host", record(), None, Step::Drop),
        ("lost while in use here", in_use.clone(), None, Step::Missing),
        ("made anew by another host", VolumeRecord { made: later, ..record() }, Some(there(&[])), Step::Drop),
        ("to be deleted, made anew", VolumeRecord { made: later, ..gone() }, Some(there(&[])), Step::Drop),
        ("to be deleted, in use there", gone(), Some(there(&[&other])), Step::Elsewhere(other.clone())),
        ("to be deleted, in use here too", gone(), Some(there(&[&own, &other])), Step::Forbid(own.clone())),
        ("grown by another host", record(), Some(large), Step::Grown(Bytes::gib(2))),
        ("taken by another host", in_use.clone(), Some(there(&[&other])), Step::Fenced(own.clone())),
        ("taken, and free again", in_use, Some(there(&[])), Step::Fenced(own.clone())),
    ];
    for (name, record, seen, expected) in table {
        assert_eq!(next(&record, seen.as_ref(), Some(&own)), expected, "{name}");
    }
}

#[test]
fn every_snapshot_state_has_one_next_step() {
    let record = |goal, settled| SnapshotRecord {
        format: 1,
        volume: VolumeId::new("v").unwrap(),
        name: SnapshotName::new("s").unwrap(),
        goal,
        settled,
        size: Bytes::gib(1),
        staged: false,
        created: Timestamp::UNIX_EPOCH,
        group: None,
    };
    let seen = SnapshotState {
        volume: Handle::new("h").unwrap(),
        name: SnapshotName::new("s").unwrap(),
        created: Timestamp::UNIX_EPOCH,
        size: Bytes::gib(1),
    };
    for (goal, settled, there, expected) in [
        (Goal::Exist, false, false, SnapshotStep::Take),
        (Goal::Exist, false, true, SnapshotStep::Settle),
        (Goal::Exist, true, true, SnapshotStep::Done),
        (Goal::Exist, true, false, SnapshotStep::Missing),
        (Goal::Gone, true, true, SnapshotStep::Delete),
        (Goal::Gone, false, true, SnapshotStep::Delete),
        (Goal::Gone, true, false, SnapshotStep::Drop),
    ] {
        assert_eq!(next_snapshot(&record(goal, settled), there.then_some(&seen)), expected);
    }
}

#[test]
fn snapshots_of_a_group_are_taken_and_deleted_together() {
    let id = |name| VolumeId::new(name).unwrap();
    let members = ["a", "b"].map(|name| (id(name), Handle::new(name).unwrap())).into();
    let group = crate::record::Group { members };
    let record = |volume, goal, settled| {
        Arc::new(SnapshotRecord {
            format: 1,
            volume: id(volume),
            name: SnapshotName::new("s").unwrap(),
            goal,
            settled,
            size: Bytes::gib(1),
            staged: false,
            created: Timestamp::UNIX_EPOCH,
            group: Some(group.clone()),
        })
    };
    let (exist, gone) = (Goal::Exist, Goal::Gone);
    for (records, expected) in [
        (vec![record("a", exist, false), record("b", exist, false)], GroupStep::Take),
        (vec![record("a", exist, true), record("b", exist, false)], GroupStep::Take),
        (vec![record("a", exist, true), record("b", exist, true)], GroupStep::Done),
        (vec![record("a", exist, true)], GroupStep::Done),
        (vec![record("a", exist, false)], GroupStep::Revoke),
        (vec![record("a", gone, false), record("b", exist, true)], GroupStep::Revoke),
        (vec![record("a", gone, false), record("b", gone, true)], GroupStep::Delete),
        (vec![record("b", gone, true)], GroupStep::Delete),
    ] {
        assert_eq!(next_group(&group, &records), expected, "{records:?}");
    }
}
