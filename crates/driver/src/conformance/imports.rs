//! Taking over volumes that exist already.

use model::Owner;

use super::Trial;
use super::trial::{changed, import, must, refused, skip, unchanged};
use crate::{ErrorKind, ImportVolume};

const ORIGINAL: &str = "original";

async fn request(trial: &Trial, name: &str) -> ImportVolume {
    ImportVolume {
        original: ORIGINAL.to_owned(),
        handle: trial.handle(name),
        volume: trial.id(name),
        spec: trial.request(name).await.spec,
    }
}

/// Puts a volume of nobody's on the array.
async fn planted(trial: &Trial) -> bool {
    let size = trial.request("x").await.spec.size;
    let done = trial.fixture.plant(ORIGINAL, size, None, 9).await;
    if !done {
        skip("the fixture cannot plant a volume of this layout to be imported");
    }
    done
}

pub async fn an_imported_volume_is_ours_with_its_content(trial: &Trial) {
    let driver = trial.driver();
    let Some(import) = import(driver.as_ref()) else { return };
    if !planted(trial).await {
        return;
    }
    let found = must(import.find(ORIGINAL).await);
    assert_eq!(found.map(|state| state.owner), Some(Owner::Nobody));
    let request = request(trial, "v").await;
    changed(import.import(&request).await);
    let seen = trial.agree(&request.handle).await;
    assert_eq!((&seen.owner, &seen.volume), (&Owner::Ours, &Some(request.volume.clone())));
    if let Some(kept) = &seen.made_as {
        assert_eq!(kept.filesystem, request.spec.filesystem);
    }
    assert_eq!(trial.read(&request.handle).await, 9);
    trial.write(&request.handle, 10).await;
    assert_eq!(trial.read(&request.handle).await, 10);
    changed(driver.delete(&request.handle).await);
    trial.gone(&request.handle).await;
}

pub async fn importing_twice_changes_nothing(trial: &Trial) {
    let driver = trial.driver();
    let Some(import) = import(driver.as_ref()) else { return };
    if !planted(trial).await {
        return;
    }
    let request = request(trial, "v").await;
    changed(import.import(&request).await);
    trial.write(&request.handle, 10).await;
    unchanged(import.import(&request).await);
    assert_eq!(trial.agree(&request.handle).await.volume, Some(request.volume.clone()));
    assert_eq!(trial.read(&request.handle).await, 10);
}

pub async fn another_instances_volume_is_not_imported(trial: &Trial) {
    let driver = trial.driver();
    let Some(import) = import(driver.as_ref()) else { return };
    let (size, other) = (trial.request("x").await.spec.size, trial.other());
    if !trial.fixture.plant(ORIGINAL, size, Some(&other), 9).await {
        return skip("the fixture cannot plant another instance's volume");
    }
    let request = request(trial, "v").await;
    refused(import.import(&request).await, ErrorKind::Conflict);
    trial.gone(&request.handle).await;
    assert_eq!(trial.fixture.planted(ORIGINAL).await, Some(9));
}

pub async fn an_import_never_overwrites(trial: &Trial) {
    let driver = trial.driver();
    let Some(import) = import(driver.as_ref()) else { return };
    if !planted(trial).await {
        return;
    }
    let handle = trial.fill("taken", 1).await;
    let request = ImportVolume { handle: handle.clone(), ..request(trial, "v").await };
    refused(import.import(&request).await, ErrorKind::Conflict);
    assert_eq!(trial.read(&handle).await, 1);
    assert_eq!(trial.fixture.planted(ORIGINAL).await, Some(9));
}

pub async fn what_is_absent_is_not_imported(trial: &Trial) {
    let driver = trial.driver();
    let Some(import) = import(driver.as_ref()) else { return };
    assert_eq!(must(import.find(ORIGINAL).await), None);
    refused(import.import(&request(trial, "v").await).await, ErrorKind::NotFound);
    trial.gone(&trial.handle("v")).await;
}
