//! What a driver says of itself.

use std::collections::BTreeSet;

use model::{Attribute, Offer, Provisioning};

use super::Trial;
use super::trial::{must, snapshots, snapshots_of};
use crate::Capabilities;

pub async fn pools_add_up(trial: &Trial) {
    let driver = trial.driver();
    let pools = must(driver.pools().await);
    assert!(!pools.is_empty(), "there is no pool");
    let names: BTreeSet<_> = pools.iter().map(|pool| &pool.name).collect();
    assert_eq!(names.len(), pools.len(), "two pools have one name");
    for pool in &pools {
        let (name, capacity) = (&pool.name, pool.capacity);
        assert_eq!(pool.backend, driver.info().backend, "{name}");
        assert!(!pool.layouts.is_empty(), "{name} takes no layout");
        assert!(pool.shared.is_subset(&pool.layouts), "{name} shares a layout that it does not take");
        assert!(!pool.granularity.is_zero() && !pool.smallest.is_zero(), "{name}");
        assert!(pool.largest.is_none_or(|largest| pool.smallest <= largest), "{name}");
        assert!(pool.default_size >= pool.smallest, "{name}");
        assert!(pool.largest.is_none_or(|largest| pool.default_size <= largest), "{name}");
        assert!(capacity.used <= capacity.total, "{name}: {capacity:?}");
        assert!(capacity.free_thick <= capacity.total, "{name}: {capacity:?}");
        assert!(capacity.free_thick <= capacity.free_thin, "{name}: thick needs what thin only may need");
        for option in pool.default_options.keys() {
            assert!(pool.accepts.contains(option), "{name} has {option} as default but does not accept it");
        }
    }
}

pub async fn pools_offer_what_the_driver_can_do(trial: &Trial) {
    let driver = trial.driver();
    let can = Capabilities::of(driver.as_ref());
    for pool in must(driver.pools().await) {
        let offers = |attribute| pool.offers.get(&attribute);
        for (attribute, can) in [(Attribute::Snapshots, can.snapshots), (Attribute::Clones, can.clones)] {
            let offered = offers(attribute) == Some(&Offer::Bool(true));
            assert_eq!(offered, can, "{}: {attribute}", pool.name);
        }
        let Some(Offer::Words(kinds)) = offers(Attribute::ProvisioningType) else {
            panic!("{} does not say which provisioning it offers", pool.name);
        };
        assert!(kinds.contains(pool.default_provisioning.as_str()), "{}", pool.name);
        assert!(kinds.iter().all(|kind| kind.parse::<Provisioning>().is_ok()), "{kinds:?}");
        let Some(Offer::Words(types)) = offers(Attribute::BackendType) else {
            panic!("{} does not say its backend type", pool.name);
        };
        assert!(types.contains(driver.info().driver), "{types:?}");
    }
}

pub async fn identity_is_constant_and_handles_are_pure(trial: &Trial) {
    let (info, handle) = (trial.driver().info().clone(), trial.handle("some-volume_1.2"));
    trial.fixture.reopen().await;
    assert_eq!(trial.handle("some-volume_1.2"), handle);
    assert_eq!(*trial.driver().info(), info);
    assert_ne!(trial.handle("another"), handle);
}

pub async fn everything_is_still_known_after_a_restart(trial: &Trial) {
    let handle = trial.fill("kept", 7).await;
    trial.permit(&handle).await;
    let driver = trial.driver();
    if let Some(snapshots) = snapshots(driver.as_ref()) {
        must(snapshots.take(&handle, &super::trial::snapshot("s")).await);
    }
    let before = (trial.agree(&handle).await, snapshots_of(driver.as_ref(), &handle).await);
    drop(driver);
    trial.fixture.reopen().await;
    let driver = trial.driver();
    let mut after = (trial.agree(&handle).await, snapshots_of(driver.as_ref(), &handle).await);
    after.0.used = before.0.used;
    assert_eq!(before, after);
    assert_eq!(trial.read(&handle).await, 7);
}
