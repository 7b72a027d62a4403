//! Creating and deleting.

use futures::future::join_all;
use model::{Attribute, Bytes, Layout, Offer, Owner, Permit, Provisioning};

use super::Trial;
use super::trial::{changed, clones, must, refused, resize, skip, snapshot, snapshots, unchanged};
use crate::{CloneVolume, ErrorKind};

pub async fn a_created_volume_is_observed_listed_and_counted(trial: &Trial) {
    let before = trial.pool().await.capacity;
    let request = trial.request("v").await;
    assert_eq!(trial.find(&request.handle).await, None);
    let made = changed(trial.driver().create(&request).await);
    let seen = trial.agree(&request.handle).await;
    assert_eq!((&made.handle, &made.size, made.layout), (&seen.handle, &seen.size, seen.layout));
    assert_eq!((&seen.handle, &seen.owner), (&request.handle, &Owner::Ours));
    assert_eq!((&seen.volume, &seen.pool), (&Some(request.volume.clone()), &request.pool));
    assert_eq!((seen.size, seen.layout), (request.spec.size, request.spec.layout));
    assert_eq!(seen.provisioning, request.spec.provisioning);
    assert!(seen.permitted.is_empty());
    let after = trial.pool().await.capacity;
    assert_eq!(after.provisioned, before.provisioned + seen.size);
    assert!(after.free_thin < before.free_thin, "{before:?} {after:?}");
    changed(trial.driver().delete(&request.handle).await);
    trial.gone(&request.handle).await;
    assert_eq!(trial.pool().await.capacity.provisioned, before.provisioned);
}

pub async fn creating_twice_changes_nothing(trial: &Trial) {
    let handle = trial.fill("v", 5).await;
    let mut request = trial.request("v").await;
    unchanged(trial.driver().create(&request).await);
    request.spec.size = request.spec.size + request.spec.size;
    let seen = unchanged(trial.driver().create(&request).await);
    assert!(seen.size < request.spec.size, "creating again has grown it");
    trial.agree(&handle).await;
    assert_eq!(trial.read(&handle).await, 5);
}

pub async fn the_same_handle_for_another_volume_is_a_conflict(trial: &Trial) {
    let handle = trial.fill("v", 5).await;
    let before = trial.agree(&handle).await;
    let mut request = trial.request("v").await;
    request.volume = trial.id("another");
    refused(trial.driver().create(&request).await, ErrorKind::Conflict);
    let mut request = trial.request("v").await;
    request.spec.layout = match request.spec.layout {
        Layout::File => Layout::Block,
        Layout::Block => Layout::File,
    };
    if trial.pool().await.layouts.contains(&request.spec.layout) {
        refused(trial.driver().create(&request).await, ErrorKind::Conflict);
    }
    let after = trial.agree(&handle).await;
    assert_eq!((after.volume, after.layout, after.size), (before.volume, before.layout, before.size));
    assert_eq!(trial.read(&handle).await, 5);
}

pub async fn sizes_are_rounded_up_to_the_pools_granularity(trial: &Trial) {
    let granularity = trial.pool().await.granularity;
    let mut request = trial.request("v").await;
    request.spec.size = request.spec.size + Bytes::new(1);
    let made = changed(trial.driver().create(&request).await);
    assert_eq!(made.size, request.spec.size.round_up(granularity));
    assert_eq!(trial.agree(&request.handle).await.size, made.size);
}

pub async fn deleting_what_is_absent_changes_nothing(trial: &Trial) {
    let handle = trial.handle("v");
    unchanged(trial.driver().delete(&handle).await);
    trial.create("v").await;
    changed(trial.driver().delete(&handle).await);
    unchanged(trial.driver().delete(&handle).await);
    trial.gone(&handle).await;
}

pub async fn a_permitted_volume_is_not_deleted(trial: &Trial) {
    let handle = trial.fill("v", 5).await;
    trial.permit(&handle).await;
    refused(trial.driver().delete(&handle).await, ErrorKind::InUse);
    trial.agree(&handle).await;
    assert_eq!(trial.read(&handle).await, 5);
    trial.forbid(&handle).await;
    changed(trial.driver().delete(&handle).await);
}

pub async fn foreign_volumes_are_never_touched(trial: &Trial) {
    let (size, other) = (trial.request("x").await.spec.size, trial.other());
    for (name, owner) in [("other", Some(&other)), ("nobody", None)] {
        let handle = trial.handle(name);
        if !trial.fixture.plant(handle.as_str(), size, owner, 9).await {
            skip("the fixture cannot plant such a volume where ours would be");
            continue;
        }
        let seen = trial.observe(&handle).await;
        match owner {
            Some(owner) => assert_eq!(seen.owner, Owner::Other(owner.clone())),
            None => assert_eq!(seen.owner, Owner::Nobody),
        }
        assert_eq!(trial.listed(&handle).await, []);
        let driver = trial.driver();
        refused(driver.create(&trial.request(name).await).await, ErrorKind::Conflict);
        refused(driver.delete(&handle).await, ErrorKind::Conflict);
        refused(driver.permit(&handle, &Permit::shared(trial.node())).await, ErrorKind::Conflict);
        if let Some(resize) = resize(driver.as_ref()) {
            refused(resize.grow(&handle, size + size).await, ErrorKind::Conflict);
        }
        if let Some(snapshots) = snapshots(driver.as_ref()) {
            refused(snapshots.take(&handle, &snapshot("s")).await, ErrorKind::Conflict);
            refused(snapshots.restore(&handle, &snapshot("s")).await, ErrorKind::Conflict);
        }
        if let Some(clones) = clones(driver.as_ref()) {
            let create = trial.request(&format!("clone-of-{name}")).await;
            let request = CloneVolume { create, source: handle.clone(), snapshot: None };
            refused(clones.clone_volume(&request).await, ErrorKind::Conflict);
        }
        assert_eq!(trial.observe(&handle).await, seen);
        assert_eq!(trial.fixture.planted(handle.as_str()).await, Some(9));
    }
}

pub async fn a_full_pool_names_what_is_free_and_leaves_nothing(trial: &Trial) {
    for provisioning in [Provisioning::Thin, Provisioning::Thick] {
        let pool = trial.pool().await;
        if !offers(&pool, provisioning) {
            skip("the pool does not offer this provisioning");
            continue;
        }
        let mut request = trial.request("v").await;
        request.spec.provisioning = provisioning;
        request.spec.size = (pool.capacity.free(provisioning) + Bytes::mib(64)).round_up(pool.granularity);
        if pool.largest.is_some_and(|largest| largest < request.spec.size) {
            skip("the largest volume is smaller than the pool");
            continue;
        }
        let error = refused(trial.driver().create(&request).await, ErrorKind::NoCapacity).to_string();
        assert!(error.contains(&request.spec.size.to_string()), "does not name what was asked for: {error}");
        assert!(error.contains("free"), "does not name what is free: {error}");
        trial.gone(&request.handle).await;
        assert_eq!(trial.pool().await.capacity.provisioned, pool.capacity.provisioned);
    }
}

pub async fn a_deleted_volume_comes_back_empty(trial: &Trial) {
    let handle = trial.fill("v", 5).await;
    changed(trial.driver().delete(&handle).await);
    trial.create("v").await;
    assert_ne!(trial.read(&handle).await, 5, "the old content is still there");
}

pub async fn thirty_two_creates_at_once_all_succeed(trial: &Trial) {
    let before = trial.pool().await.capacity.provisioned;
    let mut requests = Vec::new();
    for n in 0..32 {
        requests.push(trial.request(&format!("v{n}")).await);
    }
    let driver = trial.driver();
    for result in join_all(requests.iter().map(|request| driver.create(request))).await {
        changed(result);
    }
    for request in &requests {
        assert_eq!(trial.agree(&request.handle).await.volume.as_ref(), Some(&request.volume));
    }
    let size: Bytes = requests.iter().map(|request| request.spec.size).sum();
    assert_eq!(trial.pool().await.capacity.provisioned, before + size);
    for result in join_all(requests.iter().map(|request| driver.delete(&request.handle))).await {
        changed(result);
    }
    assert_eq!(must(driver.list().await), []);
}

fn offers(pool: &model::Pool, provisioning: Provisioning) -> bool {
    matches!(pool.offers.get(&Attribute::ProvisioningType), Some(Offer::Words(kinds)) if kinds.contains(provisioning.as_str()))
}
