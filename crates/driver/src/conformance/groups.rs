//! Snapshots of several volumes at one instant.

use model::{Handle, SnapshotName};

use super::Trial;
use super::trial::{changed, clones, groups, must, refused, snapshot, snapshots, snapshots_of, unchanged};
use crate::{CloneVolume, Driver, ErrorKind, GroupSnapshot};

/// Of these volumes.
pub(super) fn group<'a>(members: impl IntoIterator<Item = &'a Handle>, name: &str) -> GroupSnapshot {
    GroupSnapshot { members: members.into_iter().cloned().collect(), snapshot: snapshot(name) }
}

pub(super) async fn names_of(driver: &dyn Driver, handle: &Handle) -> Vec<SnapshotName> {
    snapshots_of(driver, handle).await.into_iter().map(|seen| seen.name).collect()
}

pub async fn a_group_snapshot_is_of_one_instant_and_taken_once(trial: &Trial) {
    let driver = trial.driver();
    let (Some(groups), Some(snapshots)) = (groups(driver.as_ref()), snapshots(driver.as_ref())) else {
        return;
    };
    let (a, b) = (trial.fill("a", 1).await, trial.fill("b", 2).await);
    let both = group([&b, &a], "g");
    let first = changed(groups.take_group(&both).await);
    let order: Vec<&Handle> = first.iter().map(|seen| &seen.volume).collect();
    assert_eq!(order, [&a, &b]);
    assert!(first.iter().all(|seen| seen.name == both.snapshot));
    trial.write(&a, 3).await;
    trial.write(&b, 4).await;
    assert_eq!(unchanged(groups.take_group(&both).await), first);
    for (handle, seen, content) in [(&a, &first[0], 1), (&b, &first[1], 2)] {
        assert_eq!(snapshots_of(driver.as_ref(), handle).await, std::slice::from_ref(seen));
        must(snapshots.restore(handle, &both.snapshot).await);
        assert_eq!(trial.read(handle).await, content);
    }
    drop(driver);
    trial.fixture.reopen().await;
    let driver = trial.driver();
    let Some(groups) = super::trial::groups(driver.as_ref()) else { panic!("the ability is lost") };
    unchanged(groups.take_group(&both).await);
    assert_eq!(changed(groups.take_group(&group([&a, &b], "later")).await).len(), 2);
    assert_eq!(changed(groups.take_group(&group([&a], "alone")).await).len(), 1);
}

pub async fn each_member_of_a_group_is_a_snapshot_as_any_other(trial: &Trial) {
    let driver = trial.driver();
    let (Some(groups), Some(snapshots)) = (groups(driver.as_ref()), snapshots(driver.as_ref())) else {
        return;
    };
    let (a, b) = (trial.fill("a", 1).await, trial.fill("b", 2).await);
    changed(groups.take_group(&group([&a, &b], "g")).await);
    trial.write(&a, 3).await;
    if let Some(clones) = clones(driver.as_ref()) {
        let create = trial.request("clone").await;
        let request = CloneVolume { create, source: a.clone(), snapshot: Some(snapshot("g")) };
        let clone = changed(clones.clone_volume(&request).await);
        assert_eq!(trial.read(&clone.handle).await, 1);
    }
    changed(driver.delete(&b).await);
    trial.gone(&b).await;
    assert_eq!(names_of(driver.as_ref(), &a).await, [snapshot("g")], "it went with another volume");
    must(snapshots.restore(&a, &snapshot("g")).await);
    assert_eq!(trial.read(&a).await, 1);
    changed(driver.delete(&a).await);
    trial.gone(&a).await;
}

pub async fn a_group_snapshot_is_of_all_members_or_of_none(trial: &Trial) {
    let driver = trial.driver();
    let (Some(groups), Some(snapshots)) = (groups(driver.as_ref()), snapshots(driver.as_ref())) else {
        return;
    };
    let (a, b) = (trial.fill("a", 1).await, trial.fill("b", 2).await);
    let absent = trial.handle("absent");
    refused(groups.take_group(&group([&a, &absent], "g")).await, ErrorKind::NotFound);
    assert_eq!(names_of(driver.as_ref(), &a).await, []);
    changed(snapshots.take(&b, &snapshot("g")).await);
    let refusal = refused(groups.take_group(&group([&a, &b], "g")).await, ErrorKind::Conflict);
    assert!(refusal.to_string().contains(b.as_str()), "it does not say whose: {refusal}");
    assert_eq!(names_of(driver.as_ref(), &a).await, [], "half a group is left");
    assert_eq!(names_of(driver.as_ref(), &b).await, [snapshot("g")]);
    unchanged(groups.delete_group(&group([&a, &b], "g")).await);
    assert_eq!(names_of(driver.as_ref(), &b).await, [snapshot("g")], "it was not of the group");
    changed(snapshots.take(&a, &snapshot("g")).await);
    refused(groups.take_group(&group([&a, &b], "g")).await, ErrorKind::Conflict);
    assert_eq!((trial.read(&a).await, trial.read(&b).await), (1, 2));
    changed(groups.take_group(&group([&a, &b], "other")).await);
}

pub async fn a_deleted_group_leaves_nothing_and_the_volumes_alone(trial: &Trial) {
    let driver = trial.driver();
    let Some(groups) = groups(driver.as_ref()) else { return };
    let (a, b) = (trial.fill("a", 1).await, trial.fill("b", 2).await);
    let both = group([&a, &b], "g");
    unchanged(groups.delete_group(&both).await);
    changed(groups.take_group(&both).await);
    changed(groups.delete_group(&both).await);
    unchanged(groups.delete_group(&both).await);
    for handle in [&a, &b] {
        assert_eq!(names_of(driver.as_ref(), handle).await, []);
    }
    assert_eq!((trial.read(&a).await, trial.read(&b).await), (1, 2));
    unchanged(groups.delete_group(&group([&a, &trial.handle("absent")], "g")).await);
    trial.write(&a, 5).await;
    changed(groups.take_group(&both).await);
    changed(driver.delete(&b).await);
    changed(groups.delete_group(&both).await);
    assert_eq!(names_of(driver.as_ref(), &a).await, []);
}
