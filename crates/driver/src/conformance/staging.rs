//! Remembering that a volume was put to use.

use super::Trial;
use super::trial::{changed, clones, must, refused, skip, snapshot, snapshots, staging, unchanged};
use crate::{CloneVolume, ErrorKind};

pub async fn a_volume_in_use_once_is_marked_for_good(trial: &Trial) {
    let driver = trial.driver();
    let Some(staging) = staging(driver.as_ref()) else { return };
    let handle = trial.create("v").await.handle;
    assert_eq!(trial.agree(&handle).await.staged, Some(false));
    changed(staging.mark_staged(&handle).await);
    unchanged(staging.mark_staged(&handle).await);
    assert_eq!(trial.agree(&handle).await.staged, Some(true));
    drop(driver);
    trial.fixture.reopen().await;
    assert_eq!(trial.agree(&handle).await.staged, Some(true));
    trial.gone(&trial.handle("absent")).await;
    let driver = trial.driver();
    let Some(staging) = driver.staging() else { return skip("the driver was reopened without the ability") };
    refused(staging.mark_staged(&trial.handle("absent")).await, ErrorKind::NotFound);
}

pub async fn the_mark_goes_with_the_data(trial: &Trial) {
    let driver = trial.driver();
    let Some(staging) = staging(driver.as_ref()) else { return };
    let Some(snapshots) = snapshots(driver.as_ref()) else { return };
    let handle = trial.create("v").await.handle;
    must(snapshots.take(&handle, &snapshot("blank")).await);
    changed(staging.mark_staged(&handle).await);
    must(snapshots.take(&handle, &snapshot("used")).await);
    if let Some(clones) = clones(driver.as_ref()) {
        for (name, source, expected) in
            [("a", Some("blank"), false), ("b", Some("used"), true), ("c", None, true)]
        {
            let request = CloneVolume {
                create: trial.request(name).await,
                source: handle.clone(),
                snapshot: source.map(snapshot),
            };
            changed(clones.clone_volume(&request).await);
            assert_eq!(trial.agree(&request.create.handle).await.staged, Some(expected), "{name}");
        }
    }
    must(snapshots.restore(&handle, &snapshot("used")).await);
    assert_eq!(trial.agree(&handle).await.staged, Some(true));
    if !snapshots.keeps_newer() {
        changed(snapshots.delete_snapshot(&handle, &snapshot("used")).await);
    }
    must(snapshots.restore(&handle, &snapshot("blank")).await);
    assert_eq!(trial.agree(&handle).await.staged, Some(false));
    if snapshots.keeps_newer() {
        must(snapshots.restore(&handle, &snapshot("used")).await);
        assert_eq!(trial.agree(&handle).await.staged, Some(true));
    }
}
