//! Futures dropped at every poll: what they leave is observed truly and the repeat converges.

use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use model::{Handle, Permit};

use super::Trial;
use super::groups::group;
use super::trial::{
    changed, clones, groups, import, must, resize, skip, snapshot, snapshots, snapshots_of, unchanged,
};
use crate::{CloneVolume, ImportVolume, Outcome, Result};

/// More polls than any operation needs.
const MOST: usize = 200;

/// Drops the future at its `n`th poll, unless it is ready by then.
async fn polled<T>(future: impl Future<Output = T>, n: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|context| {
        polls += 1;
        match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if polls >= n => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Drops `act` at its first, second, ... poll until it gets through, each time on a volume of its own; after each
/// drop the array must answer, and the repeat must do the work or find it done.
async fn at_every_poll<T: Debug>(
    trial: &Trial,
    prepare: impl AsyncFn(&str) -> Handle,
    act: impl AsyncFn(&Handle) -> Result<Outcome<T>>,
    proof: impl AsyncFn(&Handle),
) {
    for n in 1..=MOST {
        let handle = prepare(&format!("v{n}")).await;
        let through = polled(act(&handle), n).await.map(must).is_some();
        trial.find(&handle).await;
        must(trial.driver().list().await);
        if let Err(e) = act(&handle).await {
            panic!("dropped at poll {n}, the repeat fails: {e}");
        }
        proof(&handle).await;
        // Room for the next one.
        trial.forbid(&handle).await;
        must(trial.driver().delete(&handle).await);
        if through {
            return;
        }
    }
    panic!("not through after {MOST} polls");
}

pub async fn an_interrupted_create_can_be_repeated(trial: &Trial) {
    let driver = trial.driver();
    at_every_poll(
        trial,
        async |name| trial.handle(name),
        async |handle| {
            let mut request = trial.request("x").await;
            request.handle = handle.clone();
            driver.create(&request).await
        },
        async |handle| {
            assert_eq!(trial.agree(handle).await.volume, Some(trial.id("x")));
            trial.write(handle, 3).await;
            assert_eq!(trial.read(handle).await, 3);
        },
    )
    .await;
}

pub async fn an_interrupted_delete_can_be_repeated(trial: &Trial) {
    let driver = trial.driver();
    at_every_poll(
        trial,
        async |name| trial.fill(name, 1).await,
        async |handle| driver.delete(handle).await,
        async |handle| trial.gone(handle).await,
    )
    .await;
}

pub async fn an_interrupted_permit_can_be_repeated(trial: &Trial) {
    let (driver, node) = (trial.driver(), trial.node());
    at_every_poll(
        trial,
        async |name| trial.fill(name, 1).await,
        async |handle| driver.permit(handle, &Permit::shared(node.clone())).await,
        async |handle| {
            assert!(trial.agree(handle).await.permitted.contains(&node.name));
            assert_eq!(trial.read(handle).await, 1);
        },
    )
    .await;
}

pub async fn an_interrupted_forbid_can_be_repeated(trial: &Trial) {
    let (driver, node) = (trial.driver(), trial.node());
    at_every_poll(
        trial,
        async |name| {
            let handle = trial.create(name).await.handle;
            trial.permit(&handle).await;
            handle
        },
        async |handle| driver.forbid(handle, &node).await,
        async |handle| assert!(trial.agree(handle).await.permitted.is_empty()),
    )
    .await;
}

pub async fn an_interrupted_grow_can_be_repeated(trial: &Trial) {
    let driver = trial.driver();
    let Some(resize) = resize(driver.as_ref()) else { return };
    let small = trial.request("x").await.spec.size;
    let large = small + small;
    at_every_poll(
        trial,
        async |name| trial.fill(name, 1).await,
        async |handle| resize.grow(handle, large).await,
        async |handle| {
            assert_eq!(trial.agree(handle).await.size, large);
            assert_eq!(trial.read(handle).await, 1);
        },
    )
    .await;
}

pub async fn an_interrupted_modification_can_be_repeated(trial: &Trial) {
    let driver = trial.driver();
    let Some(modify) = trial.modify(driver.as_ref()) else { return };
    at_every_poll(
        trial,
        async |name| trial.fill(name, 1).await,
        async |handle| modify.modify_volume(&trial.modification(handle).await).await,
        async |handle| {
            trial.is_modified(&trial.agree(handle).await);
            assert_eq!(trial.read(handle).await, 1);
        },
    )
    .await;
}

pub async fn an_interrupted_snapshot_can_be_repeated(trial: &Trial) {
    let driver = trial.driver();
    let Some(snapshots) = snapshots(driver.as_ref()) else { return };
    at_every_poll(
        trial,
        async |name| trial.fill(name, 1).await,
        async |handle| snapshots.take(handle, &snapshot("s")).await,
        async |handle| {
            assert_eq!(snapshots_of(driver.as_ref(), handle).await.len(), 1);
            trial.write(handle, 2).await;
            must(snapshots.restore(handle, &snapshot("s")).await);
            assert_eq!(trial.read(handle).await, 1);
        },
    )
    .await;
}

pub async fn an_interrupted_snapshot_deletion_can_be_repeated(trial: &Trial) {
    let driver = trial.driver();
    let Some(snapshots) = snapshots(driver.as_ref()) else { return };
    at_every_poll(
        trial,
        async |name| {
            let handle = trial.fill(name, 1).await;
            changed(snapshots.take(&handle, &snapshot("s")).await);
            handle
        },
        async |handle| snapshots.delete_snapshot(handle, &snapshot("s")).await,
        async |handle| {
            assert_eq!(snapshots_of(driver.as_ref(), handle).await, []);
            assert_eq!(trial.read(handle).await, 1);
        },
    )
    .await;
}

pub async fn an_interrupted_group_snapshot_can_be_repeated(trial: &Trial) {
    let driver = trial.driver();
    let Some(groups) = groups(driver.as_ref()) else { return };
    let other = trial.fill("other", 5).await;
    let request = |handle: &Handle| group([handle, &other], handle.as_str());
    at_every_poll(
        trial,
        async |name| trial.fill(name, 1).await,
        async |handle| groups.take_group(&request(handle)).await,
        async |handle| {
            assert_eq!(snapshots_of(driver.as_ref(), handle).await.len(), 1);
            assert_eq!(snapshots_of(driver.as_ref(), &other).await.len(), 1);
            unchanged(groups.take_group(&request(handle)).await);
            changed(groups.delete_group(&request(handle)).await);
        },
    )
    .await;
}

pub async fn an_interrupted_group_snapshot_can_be_taken_back(trial: &Trial) {
    let driver = trial.driver();
    let Some(groups) = groups(driver.as_ref()) else { return };
    let other = trial.fill("other", 5).await;
    for n in 1..=MOST {
        let handle = trial.fill(&format!("v{n}"), 1).await;
        let request = group([&handle, &other], "g");
        let through = polled(groups.take_group(&request), n).await.map(must).is_some();
        must(groups.delete_group(&request).await);
        for member in [&handle, &other] {
            assert_eq!(snapshots_of(driver.as_ref(), member).await, [], "dropped at poll {n}");
        }
        must(driver.delete(&handle).await);
        trial.gone(&handle).await;
        if through {
            return;
        }
    }
    panic!("not through after {MOST} polls");
}

pub async fn an_interrupted_restore_can_be_repeated(trial: &Trial) {
    let driver = trial.driver();
    let Some(snapshots) = snapshots(driver.as_ref()) else { return };
    at_every_poll(
        trial,
        async |name| {
            let handle = trial.fill(name, 1).await;
            changed(snapshots.take(&handle, &snapshot("s")).await);
            trial.write(&handle, 2).await;
            handle
        },
        async |handle| snapshots.restore(handle, &snapshot("s")).await,
        async |handle| {
            trial.agree(handle).await;
            assert_eq!(snapshots_of(driver.as_ref(), handle).await.len(), 1);
            assert_eq!(trial.read(handle).await, 1);
        },
    )
    .await;
}

pub async fn an_interrupted_clone_can_be_repeated(trial: &Trial) {
    let driver = trial.driver();
    let Some(clones) = clones(driver.as_ref()) else { return };
    let source = trial.fill("source", 1).await;
    at_every_poll(
        trial,
        async |name| trial.handle(name),
        async |handle| {
            let mut create = trial.request("x").await;
            create.handle = handle.clone();
            clones.clone_volume(&CloneVolume { create, source: source.clone(), snapshot: None }).await
        },
        async |handle| {
            trial.agree(handle).await;
            assert_eq!(trial.read(handle).await, 1);
        },
    )
    .await;
}

pub async fn an_interrupted_import_can_be_repeated(trial: &Trial) {
    let driver = trial.driver();
    let Some(import) = import(driver.as_ref()) else { return };
    let size = trial.request("x").await.spec.size;
    if !trial.fixture.plant("there", size, None, 9).await {
        return skip("the fixture cannot plant a volume of this layout to be imported");
    }
    let spec = trial.request("x").await.spec;
    let request = |handle: &Handle| ImportVolume {
        original: format!("original_{handle}"),
        handle: handle.clone(),
        volume: trial.id(handle.as_str()),
        spec: spec.clone(),
    };
    at_every_poll(
        trial,
        async |name| {
            let handle = trial.handle(name);
            assert!(trial.fixture.plant(&request(&handle).original, size, None, 9).await);
            handle
        },
        async |handle| import.import(&request(handle)).await,
        async |handle| {
            trial.agree(handle).await;
            assert_eq!(trial.read(handle).await, 9);
        },
    )
    .await;
}
