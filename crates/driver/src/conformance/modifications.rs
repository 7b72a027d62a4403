//! Changing options.

use model::{VolumeOption, VolumeOptions};

use super::Trial;
use super::trial::{changed, must, refused};
use crate::{ErrorKind, ModifyVolume};

pub async fn options_change_while_the_volume_is_in_use(trial: &Trial) {
    let driver = trial.driver();
    let Some(modify) = trial.modify(driver.as_ref()) else { return };
    let handle = trial.fill("v", 5).await;
    let before = trial.agree(&handle).await;
    let route = trial.permit(&handle).await;
    let wanted = trial.modification(&handle).await;
    let seen = changed(modify.modify_volume(&wanted).await);
    trial.is_modified(&seen);
    must(modify.modify_volume(&wanted).await);
    let after = trial.agree(&handle).await;
    trial.is_modified(&after);
    assert_eq!((after.size, after.permitted.len(), after.staged), (before.size, 1, before.staged));
    assert_eq!(trial.fixture.read(&route).await, 5);
}

pub async fn what_cannot_change_is_refused_by_name_and_changes_nothing(trial: &Trial) {
    let driver = trial.driver();
    let Some(modify) = trial.modify(driver.as_ref()) else { return };
    let modifiable = modify.modifiable();
    assert!(!modifiable.is_empty(), "nothing can be changed: then it is no ability");
    assert!(trial.fixture.changes().keys().all(|option| modifiable.contains(option)));
    let handle = trial.fill("v", 5).await;
    let before = trial.agree(&handle).await;
    let fixed = VolumeOption::ALL.iter().find(|option| !modifiable.contains(option));
    if let Some(fixed) = fixed {
        let mut wanted = trial.modification(&handle).await;
        wanted.changes.insert(*fixed, "x".to_owned());
        let error = refused(modify.modify_volume(&wanted).await, ErrorKind::Unsupported).to_string();
        assert!(error.contains(fixed.as_str()), "{error}");
    }
    let after = trial.agree(&handle).await;
    assert_eq!(after.made_as, before.made_as);
    assert_eq!(trial.read(&handle).await, 5);
}

pub async fn only_what_exists_is_modified(trial: &Trial) {
    let driver = trial.driver();
    let Some(modify) = trial.modify(driver.as_ref()) else { return };
    let wanted = trial.modification(&trial.handle("absent")).await;
    refused(modify.modify_volume(&wanted).await, ErrorKind::NotFound);
    let handle = trial.create("v").await.handle;
    let nothing = ModifyVolume { handle, changes: VolumeOptions::new(), spec: trial.request("v").await.spec };
    must(modify.modify_volume(&nothing).await);
}
