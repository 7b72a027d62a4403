//! Taking, deleting and restoring snapshots.

use super::Trial;
use super::trial::{changed, must, refused, resize, snapshot, snapshots, snapshots_of, unchanged};
use crate::ErrorKind;

pub async fn a_snapshot_is_taken_once_and_listed(trial: &Trial) {
    let driver = trial.driver();
    let Some(snapshots) = snapshots(driver.as_ref()) else { return };
    let volume = trial.create("v").await;
    assert_eq!(must(snapshots.list_snapshots(&volume.handle).await), []);
    let first = changed(snapshots.take(&volume.handle, &snapshot("a")).await);
    assert_eq!((&first.volume, &first.name, first.size), (&volume.handle, &snapshot("a"), volume.size));
    assert_eq!(unchanged(snapshots.take(&volume.handle, &snapshot("a")).await), first);
    let second = changed(snapshots.take(&volume.handle, &snapshot("b")).await);
    let mut listed = must(snapshots.list_snapshots(&volume.handle).await);
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(listed, [first, second]);
    trial.agree(&volume.handle).await;
}

pub async fn deleting_a_snapshot_twice_changes_nothing(trial: &Trial) {
    let driver = trial.driver();
    let Some(snapshots) = snapshots(driver.as_ref()) else { return };
    unchanged(snapshots.delete_snapshot(&trial.handle("v"), &snapshot("a")).await);
    let handle = trial.fill("v", 5).await;
    unchanged(snapshots.delete_snapshot(&handle, &snapshot("a")).await);
    changed(snapshots.take(&handle, &snapshot("a")).await);
    changed(snapshots.delete_snapshot(&handle, &snapshot("a")).await);
    unchanged(snapshots.delete_snapshot(&handle, &snapshot("a")).await);
    assert_eq!(must(snapshots.list_snapshots(&handle).await), []);
    assert_eq!(trial.read(&handle).await, 5);
}

pub async fn a_snapshot_keeps_the_content_of_its_instant(trial: &Trial) {
    let driver = trial.driver();
    let Some(snapshots) = snapshots(driver.as_ref()) else { return };
    let handle = trial.fill("v", 1).await;
    let route = trial.permit(&handle).await;
    changed(snapshots.take(&handle, &snapshot("one")).await);
    trial.fixture.write(&route, 2).await;
    changed(snapshots.take(&handle, &snapshot("two")).await);
    trial.fixture.write(&route, 3).await;
    unchanged(snapshots.take(&handle, &snapshot("two")).await);
    trial.forbid(&handle).await;
    let order: &[(&str, u64)] = match snapshots.keeps_newer() {
        true => &[("one", 1), ("two", 2), ("one", 1)],
        false => &[("two", 2), ("one", 1)],
    };
    for (name, content) in order {
        must(snapshots.restore(&handle, &snapshot(name)).await);
        assert_eq!(trial.read(&handle).await, *content, "{name}");
        if !snapshots.keeps_newer() {
            changed(snapshots.delete_snapshot(&handle, &snapshot(name)).await);
        }
    }
}

pub async fn restoring_brings_back_the_content_and_keeps_all_snapshots(trial: &Trial) {
    let driver = trial.driver();
    let Some(snapshots) = snapshots(driver.as_ref()) else { return };
    let handle = trial.fill("v", 1).await;
    let before = trial.agree(&handle).await;
    for name in ["a", "b"] {
        changed(snapshots.take(&handle, &snapshot(name)).await);
    }
    if let Some(resize) = resize(driver.as_ref()) {
        changed(resize.grow(&handle, before.size + before.size).await);
    }
    trial.write(&handle, 2).await;
    let grown = trial.agree(&handle).await.size;
    let keeps_newer = snapshots.keeps_newer();
    if !keeps_newer {
        let refusal = refused(snapshots.restore(&handle, &snapshot("a")).await, ErrorKind::InUse);
        assert!(refusal.to_string().contains("`b`"), "it does not say what would be lost: {refusal}");
        assert_eq!((trial.read(&handle).await, snapshots_of(driver.as_ref(), &handle).await.len()), (2, 2));
        changed(snapshots.delete_snapshot(&handle, &snapshot("b")).await);
    }
    for _ in 0..2 {
        let restored = must(snapshots.restore(&handle, &snapshot("a")).await).into_inner();
        assert!(restored.size == before.size || restored.size == grown, "{}", restored.size);
        assert_eq!(restored.volume, before.volume);
        let seen = trial.agree(&handle).await;
        assert_eq!((seen.size, &seen.owner, seen.layout), (restored.size, &before.owner, before.layout));
        assert_eq!(trial.read(&handle).await, 1);
    }
    assert_eq!(snapshots_of(driver.as_ref(), &handle).await.len(), if keeps_newer { 2 } else { 1 });
    refused(snapshots.restore(&handle, &snapshot("absent")).await, ErrorKind::NotFound);
    assert_eq!(trial.read(&handle).await, 1);
    trial.write(&handle, 4).await;
    assert_eq!(trial.read(&handle).await, 4, "it cannot be written any more");
}

pub async fn a_permitted_volume_is_not_restored(trial: &Trial) {
    let driver = trial.driver();
    let Some(snapshots) = snapshots(driver.as_ref()) else { return };
    let handle = trial.fill("v", 1).await;
    changed(snapshots.take(&handle, &snapshot("a")).await);
    let route = trial.permit(&handle).await;
    trial.fixture.write(&route, 2).await;
    refused(snapshots.restore(&handle, &snapshot("a")).await, ErrorKind::InUse);
    assert_eq!(trial.fixture.read(&route).await, 2);
}

pub async fn a_snapshot_goes_with_its_volume(trial: &Trial) {
    let driver = trial.driver();
    let Some(snapshots) = snapshots(driver.as_ref()) else { return };
    let handle = trial.create("v").await.handle;
    changed(snapshots.take(&handle, &snapshot("a")).await);
    changed(driver.delete(&handle).await);
    trial.gone(&handle).await;
    trial.create("v").await;
    assert_eq!(must(snapshots.list_snapshots(&handle).await), []);
}

pub async fn what_is_absent_has_no_snapshots(trial: &Trial) {
    let driver = trial.driver();
    let Some(snapshots) = snapshots(driver.as_ref()) else { return };
    let absent = trial.handle("absent");
    refused(snapshots.take(&absent, &snapshot("a")).await, ErrorKind::NotFound);
    refused(snapshots.restore(&absent, &snapshot("a")).await, ErrorKind::NotFound);
    refused(snapshots.list_snapshots(&absent).await, ErrorKind::NotFound);
    trial.gone(&absent).await;
}
