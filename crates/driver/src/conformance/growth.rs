//! Growing.

use model::Bytes;

use super::Trial;
use super::trial::{changed, refused, resize, unchanged};
use crate::ErrorKind;

pub async fn a_volume_grows_while_in_use_and_never_shrinks(trial: &Trial) {
    let driver = trial.driver();
    let Some(resize) = resize(driver.as_ref()) else { return };
    let handle = trial.fill("v", 5).await;
    let small = trial.agree(&handle).await.size;
    let large = small + small;
    let provisioned = trial.pool().await.capacity.provisioned;
    let route = trial.permit(&handle).await;
    assert_eq!(changed(resize.grow(&handle, large).await).size, large);
    assert_eq!(unchanged(resize.grow(&handle, large).await).size, large);
    assert_eq!(unchanged(resize.grow(&handle, small).await).size, large);
    let seen = trial.agree(&handle).await;
    assert_eq!((seen.size, seen.permitted.len()), (large, 1));
    assert_eq!(trial.pool().await.capacity.provisioned, provisioned + small);
    assert_eq!(trial.fixture.read(&route).await, 5);
}

pub async fn growth_past_the_pool_is_refused_and_changes_nothing(trial: &Trial) {
    let driver = trial.driver();
    let Some(resize) = resize(driver.as_ref()) else { return };
    let handle = trial.fill("v", 5).await;
    let before = trial.agree(&handle).await;
    let pool = trial.pool().await;
    let size = (before.size + pool.capacity.free_thin + Bytes::mib(64)).round_up(pool.granularity);
    let error = refused(resize.grow(&handle, size).await, ErrorKind::NoCapacity).to_string();
    assert!(error.contains("free"), "does not name what is free: {error}");
    assert_eq!(trial.agree(&handle).await.size, before.size);
    assert_eq!(trial.read(&handle).await, 5);
}

pub async fn only_what_exists_grows(trial: &Trial) {
    let driver = trial.driver();
    let Some(resize) = resize(driver.as_ref()) else { return };
    refused(resize.grow(&trial.handle("absent"), Bytes::gib(1)).await, ErrorKind::NotFound);
}
