//! New volumes with the content of others.

use model::{Bytes, Owner};

use super::Trial;
use super::trial::{changed, clones, must, refused, snapshot, snapshots, unchanged};
use crate::{CloneVolume, ErrorKind};

async fn request(trial: &Trial, name: &str, source: &str, of: Option<&str>) -> CloneVolume {
    let create = trial.request(name).await;
    CloneVolume { create, source: trial.handle(source), snapshot: of.map(snapshot) }
}

pub async fn a_clone_of_a_snapshot_has_its_content_and_lives_alone(trial: &Trial) {
    let driver = trial.driver();
    let (Some(clones), Some(snapshots)) = (clones(driver.as_ref()), snapshots(driver.as_ref())) else {
        return;
    };
    let source = trial.fill("source", 1).await;
    changed(snapshots.take(&source, &snapshot("s")).await);
    trial.write(&source, 2).await;
    let clone = changed(clones.clone_volume(&request(trial, "clone", "source", Some("s")).await).await);
    let seen = trial.agree(&clone.handle).await;
    assert_eq!((&seen.owner, &seen.volume), (&Owner::Ours, &Some(trial.id("clone"))));
    assert_eq!(must(snapshots.list_snapshots(&clone.handle).await), [], "the source's snapshots came along");
    assert_eq!(trial.read(&clone.handle).await, 1);
    trial.write(&clone.handle, 3).await;
    assert_eq!(trial.read(&source).await, 2);
    changed(driver.delete(&source).await);
    trial.gone(&source).await;
    assert_eq!(trial.read(&clone.handle).await, 3);
}

pub async fn a_clone_of_the_live_volume_has_its_content_and_lives_alone(trial: &Trial) {
    let driver = trial.driver();
    let Some(clones) = clones(driver.as_ref()) else { return };
    let source = trial.fill("source", 1).await;
    let route = trial.permit(&source).await;
    let clone = changed(clones.clone_volume(&request(trial, "clone", "source", None).await).await);
    assert!(clone.permitted.is_empty(), "the source's permits came along");
    trial.fixture.write(&route, 2).await;
    trial.forbid(&source).await;
    assert_eq!(trial.read(&clone.handle).await, 1);
    changed(driver.delete(&source).await);
    assert_eq!(trial.read(&clone.handle).await, 1);
    trial.agree(&clone.handle).await;
}

pub async fn a_source_outlives_its_clones(trial: &Trial) {
    let driver = trial.driver();
    let (Some(clones), Some(snapshots)) = (clones(driver.as_ref()), snapshots(driver.as_ref())) else {
        return;
    };
    let source = trial.fill("source", 1).await;
    changed(snapshots.take(&source, &snapshot("s")).await);
    for (name, of) in [("a", Some("s")), ("b", None)] {
        let clone = changed(clones.clone_volume(&request(trial, name, "source", of).await).await);
        trial.write(&clone.handle, 2).await;
        changed(driver.delete(&clone.handle).await);
    }
    assert_eq!(trial.read(&source).await, 1);
    must(snapshots.restore(&source, &snapshot("s")).await);
    assert_eq!(trial.read(&source).await, 1);
}

pub async fn a_clone_may_be_larger_but_not_smaller(trial: &Trial) {
    let driver = trial.driver();
    let Some(clones) = clones(driver.as_ref()) else { return };
    let source = trial.fill("source", 1).await;
    let mut large = request(trial, "large", "source", None).await;
    large.create.spec.size = large.create.spec.size + large.create.spec.size;
    assert_eq!(changed(clones.clone_volume(&large).await).size, large.create.spec.size);
    assert_eq!(trial.agree(&large.create.handle).await.size, large.create.spec.size);
    assert_eq!(trial.read(&large.create.handle).await, 1);
    let mut small = request(trial, "small", "large", None).await;
    // Less by what a pool does not round up again.
    let less = trial.pool().await.granularity.max(Bytes::mib(1));
    small.create.spec.size = large.create.spec.size - less;
    refused(clones.clone_volume(&small).await, ErrorKind::Invalid);
    trial.gone(&small.create.handle).await;
    assert_eq!(trial.read(&source).await, 1);
}

pub async fn cloning_twice_changes_nothing(trial: &Trial) {
    let driver = trial.driver();
    let Some(clones) = clones(driver.as_ref()) else { return };
    let source = trial.fill("source", 1).await;
    let wanted = request(trial, "clone", "source", None).await;
    let clone = changed(clones.clone_volume(&wanted).await);
    trial.write(&clone.handle, 2).await;
    unchanged(clones.clone_volume(&wanted).await);
    assert_eq!(trial.read(&clone.handle).await, 2, "cloning again has overwritten it");
    changed(driver.delete(&source).await);
    unchanged(clones.clone_volume(&wanted).await);
    let mut other = wanted;
    other.create.volume = trial.id("another");
    refused(clones.clone_volume(&other).await, ErrorKind::Conflict);
    trial.agree(&clone.handle).await;
}

pub async fn a_clone_needs_its_source(trial: &Trial) {
    let driver = trial.driver();
    let Some(clones) = clones(driver.as_ref()) else { return };
    let absent = request(trial, "clone", "absent", None).await;
    refused(clones.clone_volume(&absent).await, ErrorKind::NotFound);
    trial.create("source").await;
    let absent = request(trial, "clone", "source", Some("absent")).await;
    refused(clones.clone_volume(&absent).await, ErrorKind::NotFound);
    trial.gone(&trial.handle("clone")).await;
}
