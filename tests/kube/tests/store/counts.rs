//! How many requests an operation costs, and how long many records take.

use std::time::Instant;

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt};
use kube_suite::needs_the_machine;
use store::suite::{delete, put};
use store::{Key, KubernetesStore, Post as _, Store as _};

use crate::site::Site;

/// As docs/shared-store.md has them.
#[tokio::test(flavor = "multi_thread")]
async fn each_operation_makes_as_many_requests_as_the_manual_says() -> Result<()> {
    needs_the_machine!();
    let place = tokio::task::block_in_place(|| Site::shared()?.place())?;
    let store = place.store().await?;
    // Until the cluster has heard of everything, it is asked more often.
    let lease = store.acquire("a").await?;
    let fence = lease.fence;
    let [a, b] = ["a", "b"].map(|id| Key::new("volume", id));
    let mut counts = Vec::new();
    let mut before = store.requests();
    let mut count = |what: &'static str, store: &KubernetesStore| {
        counts.push((what, store.requests() - before));
        before = store.requests();
    };
    let at = store.commit(fence, vec![put(&a, None, b"{}")]).await?;
    count("create", &store);
    let at = store.commit(fence, vec![put(&a, Some(at), b"{}")]).await?;
    count("change", &store);
    store.find(&a).await?;
    count("find", &store);
    store.list("volume").await?;
    count("list", &store);
    store.commit(fence, vec![delete(&a, Some(at))]).await?;
    count("delete", &store);
    let both = store.commit(fence, vec![put(&a, None, b"{}"), put(&b, None, b"{}")]).await?;
    count("two creates", &store);
    store.commit(fence, vec![delete(&a, Some(both)), delete(&b, Some(both))]).await?;
    count("two deletes", &store);
    let private = Key::new("node", "private");
    let at = store.commit(fence, vec![put(&private, None, b"1")]).await?;
    count("private create", &store);
    store.commit(fence, vec![put(&private, Some(at), b"2")]).await?;
    count("private change", &store);
    store.list("node").await?;
    count("private list", &store);
    store.renew(&lease).await?;
    count("renew", &store);
    store.send("x/1", b"ask".as_slice().into()).await?;
    count("first letter", &store);
    store.open(fence, "x/1").await?;
    store.answer(fence, "x/1", b"done".as_slice().into()).await?;
    store.withdraw("x/1").await?;
    count("open, answer, withdraw", &store);
    println!("{counts:?}");
    ensure!(
        counts
            == [
                ("create", 1),
                ("change", 1),
                ("find", 1),
                ("list", 1),
                ("delete", 2),
                ("two creates", 6),
                ("two deletes", 8),
                ("private create", 4),
                ("private change", 4),
                ("private list", 2),
                ("renew", 1),
                ("first letter", 3),
                ("open, answer, withdraw", 3),
            ]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_records_are_listed_in_order_and_calls_at_once_share_a_connection() -> Result<()> {
    const RECORDS: usize = 10_000;
    const AT_ONCE: usize = 64;
    needs_the_machine!();
    let place = tokio::task::block_in_place(|| Site::shared()?.place())?;
    let store = place.store().await?;
    let fence = store.acquire("a").await?.fence;
    let record = format!(r#"{{"id":"v","size":1073741824,"pool":"p","handle":"{}"}}"#, "x".repeat(600));
    let started = Instant::now();
    futures::stream::iter(0..RECORDS)
        .map(|number| {
            let key = Key::new("volume", format!("pvc-{number:05}"));
            store.commit(fence, vec![put(&key, None, record.as_bytes())])
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    let took = started.elapsed();
    println!("{RECORDS} records written in {took:.1?}");
    let started = Instant::now();
    let other = place.store().await?;
    let listed = other.list("volume").await?;
    println!("opened and listed in {:.2?}", started.elapsed());
    let connections = place.door.connections();
    // One each; one that did not answer in time on a busy machine is made anew.
    ensure!(connections < AT_ONCE / 4, "{connections} connections of two instances");
    ensure!(listed.len() == RECORDS && listed.is_sorted_by(|a, b| a.key < b.key));
    Ok(())
}
