//! Letting nodes reach volumes.

use std::collections::BTreeSet;

use model::Permit;

use super::Trial;
use super::trial::{changed, must, refused, skip, unchanged};
use crate::ErrorKind;

pub async fn permitting_is_idempotent_and_observed(trial: &Trial) {
    let handle = trial.create("v").await.handle;
    let (node, permit) = (trial.node(), Permit::shared(trial.node()));
    let route = changed(trial.driver().permit(&handle, &permit).await);
    assert_eq!(unchanged(trial.driver().permit(&handle, &permit).await), route, "the route has changed");
    assert_eq!(trial.agree(&handle).await.permitted, BTreeSet::from([node.name]));
}

pub async fn forbidding_is_idempotent_and_fine_with_what_is_absent(trial: &Trial) {
    let (driver, node, handle) = (trial.driver(), trial.node(), trial.handle("v"));
    unchanged(driver.forbid(&handle, &node).await);
    trial.create("v").await;
    unchanged(driver.forbid(&handle, &node).await);
    trial.permit(&handle).await;
    changed(driver.forbid(&handle, &node).await);
    unchanged(driver.forbid(&handle, &node).await);
    assert!(trial.agree(&handle).await.permitted.is_empty());
}

pub async fn nodes_are_permitted_one_by_one(trial: &Trial) {
    let nodes = trial.fixture.nodes();
    let [first, second, ..] = nodes.as_slice() else {
        return skip("the driver permits one node only");
    };
    let (driver, handle) = (trial.driver(), trial.create("v").await.handle);
    changed(driver.permit(&handle, &Permit::shared(first.clone())).await);
    changed(driver.permit(&handle, &Permit::shared(second.clone())).await);
    assert_eq!(
        trial.agree(&handle).await.permitted,
        BTreeSet::from([first.name.clone(), second.name.clone()])
    );
    changed(driver.forbid(&handle, first).await);
    assert_eq!(trial.agree(&handle).await.permitted, BTreeSet::from([second.name.clone()]));
    refused(driver.delete(&handle).await, ErrorKind::InUse);
}

pub async fn content_stays_when_permits_change(trial: &Trial) {
    let handle = trial.create("v").await.handle;
    for content in [3, 4] {
        trial.write(&handle, content).await;
        assert_eq!(trial.read(&handle).await, content);
    }
    let route = trial.permit(&handle).await;
    assert_eq!(trial.fixture.read(&route).await, 4);
    must(trial.driver().observe(&handle).await);
}

pub async fn only_what_exists_is_permitted(trial: &Trial) {
    let permit = Permit::shared(trial.node());
    refused(trial.driver().permit(&trial.handle("absent"), &permit).await, ErrorKind::NotFound);
    trial.gone(&trial.handle("absent")).await;
}

pub async fn an_exclusive_permit_excludes_others(trial: &Trial) {
    let nodes = trial.fixture.nodes();
    let [first, second, ..] = nodes.as_slice() else {
        return skip("the driver permits one node only");
    };
    let (driver, handle) = (trial.driver(), trial.create("v").await.handle);
    let (alone, other) = (Permit::exclusive(first.clone()), Permit::exclusive(second.clone()));
    changed(driver.permit(&handle, &alone).await);
    unchanged(driver.permit(&handle, &alone).await);
    for permit in [&other, &Permit::shared(second.clone())] {
        let refusal = refused(driver.permit(&handle, permit).await, ErrorKind::InUse);
        assert!(refusal.to_string().contains(first.name.as_str()), "it does not say who: {refusal}");
    }
    assert_eq!(trial.agree(&handle).await.permitted, BTreeSet::from([first.name.clone()]));
    changed(driver.forbid(&handle, first).await);
    changed(driver.permit(&handle, &Permit::shared(second.clone())).await);
    refused(driver.permit(&handle, &alone).await, ErrorKind::InUse);
    changed(driver.forbid(&handle, second).await);
    // Both at once: one at most gets it.
    let (one, two) = tokio::join!(driver.permit(&handle, &alone), driver.permit(&handle, &other));
    assert!(one.is_err() || two.is_err(), "both were permitted: {one:?}, {two:?}");
    let granted = usize::from(one.is_ok()) + usize::from(two.is_ok());
    assert_eq!(trial.agree(&handle).await.permitted.len(), granted);
}
