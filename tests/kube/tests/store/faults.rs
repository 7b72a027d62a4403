//! Deaths, cuts and restarts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures::{FutureExt, StreamExt};
use kube_suite::{needs_the_machine, until};
use store::suite::{delete, put};
use store::{Change, Fence, Key, KubernetesStore, Store, StoreError};

use crate::site::{LIMIT, Place, Site, acquired, until_ready};

#[test]
fn what_was_acknowledged_survives_the_death_of_the_apiserver_and_of_etcd() -> Result<()> {
    needs_the_machine!();
    let site = Site::own()?;
    let place = site.place()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let store = Arc::new(runtime.block_on(place.store())?);
    let fence = runtime.block_on(store.acquire("a"))?.fence;
    let mut changes = runtime.block_on(store.watch("volume"))?;
    let mut acknowledged = Vec::new();
    for (round, victims) in
        [&["kube-apiserver"][..], &["etcd"], &["kube-apiserver", "etcd"]].iter().enumerate()
    {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let writer = runtime.spawn(written(store.clone(), fence, round, stopped));
        // It writes before, meanwhile and after.
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(500)).await });
        for victim in *victims {
            site.kill(victim)?;
        }
        runtime.block_on(async { tokio::time::sleep(Duration::from_secs(2)).await });
        for victim in victims.iter().rev() {
            site.start_again(victim)?;
        }
        until_ready(&site)?;
        let started = Instant::now();
        let key = Key::new("volume", format!("after-{round}"));
        let revision = runtime.block_on(insisted(&store, fence, &key))?;
        println!("{victims:?} back -> a commit: {:.1?}", started.elapsed());
        let _ = stop.send(());
        acknowledged.extend(runtime.block_on(writer)?);
        acknowledged.push((key, revision));
    }
    let listed = runtime.block_on(store.list("volume"))?;
    println!("{} commits acknowledged, {} records there", acknowledged.len(), listed.len());
    let mut missed: Vec<_> = Vec::new();
    for (key, revision) in &acknowledged {
        let found = listed.iter().find(|entry| entry.key == *key);
        let found = found.with_context(|| format!("{key} was acknowledged and is lost"))?;
        ensure!(found.revision == *revision, "{key}: {:?}, not {revision:?}", found.revision);
        missed.push(key.clone());
    }
    // The watch has come back by itself, and has told all, or that it could not.
    runtime.block_on(async {
        let told = async {
            while !missed.is_empty() {
                match changes.next().await {
                    Some(Change::Put(entry)) => missed.retain(|key| *key != entry.key),
                    Some(Change::Lagged) => missed.clear(),
                    Some(Change::Deleted(..)) => {}
                    None => bail!("the watch has ended"),
                }
            }
            Ok(())
        };
        tokio::time::timeout(LIMIT, told).await.context("changes were not told")?
    })?;
    runtime.block_on(history_that_is_gone(&site, &store, fence, place))
}

/// Writes until it is stopped; what was acknowledged.
async fn written(
    store: Arc<KubernetesStore>,
    fence: Fence,
    round: usize,
    mut stopped: tokio::sync::oneshot::Receiver<()>,
) -> Vec<(Key, store::Revision)> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stopped.try_recv().is_ok() {
            break;
        }
        let key = Key::new("volume", format!("{round}-{number}"));
        if let Ok(revision) = store.commit(fence, vec![put(&key, None, b"{}")]).await {
            acknowledged.push((key, revision));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    acknowledged
}

async fn insisted(store: &KubernetesStore, fence: Fence, key: &Key) -> Result<store::Revision> {
    let started = Instant::now();
    loop {
        match store.commit(fence, vec![put(key, None, b"{}")]).await {
            Ok(revision) => return Ok(revision),
            // It may have happened.
            Err(StoreError::Conflict { found: Some(found), .. }) => return Ok(found),
            Err(StoreError::Unavailable { .. } | StoreError::Denied { .. }) if started.elapsed() < LIMIT => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A watcher that was away for longer than the cluster remembers is told to read all again.
async fn history_that_is_gone(
    site: &Site,
    store: &KubernetesStore,
    fence: Fence,
    place: Place,
) -> Result<()> {
    let (away, kubeconfig) = site.door()?;
    let config = store::KubernetesConfig { kubeconfig: Some(kubeconfig), ..place.config.clone() };
    let other = KubernetesStore::open(&config).await?;
    let mut changes = other.watch("volume").await?;
    away.shut();
    insisted(store, fence, &Key::new("volume", "meanwhile")).await?;
    // Its cache of changes begins anew: it does not know what was before.
    site.kill("kube-apiserver")?;
    site.start_again("kube-apiserver")?;
    until_ready(site)?;
    away.open();
    let started = Instant::now();
    let lagged = async {
        while let Some(change) = changes.next().await {
            if change == Change::Lagged {
                return Ok(());
            }
        }
        bail!("the watch has ended")
    };
    tokio::time::timeout(LIMIT, lagged).await.context("it is not told")??;
    println!("told of the gap in {:.1?}", started.elapsed());
    let listed = other.list("volume").await?;
    ensure!(listed.iter().any(|entry| &*entry.key.id == "meanwhile"));
    let key = Key::new("volume", "later");
    insisted(store, fence, &key).await?;
    let told = async {
        while let Some(change) = changes.next().await {
            if matches!(&change, Change::Put(entry) if entry.key == key) {
                return Ok(());
            }
        }
        bail!("the watch has ended")
    };
    tokio::time::timeout(LIMIT, told).await.context("the watch does not go on")?
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_done_once_and_knows_its_work() -> Result<()> {
    needs_the_machine!();
    let place = tokio::task::block_in_place(|| Site::shared()?.place())?;
    let store = place.store().await?;
    let fence = store.acquire("a").await?.fence;
    let [old, gone, made] = ["old", "gone", "made"].map(|id| Key::new("volume", id));
    let at = store.commit(fence, vec![put(&old, None, b"1")]).await?;
    let gone_at = store.commit(fence, vec![put(&gone, None, b"1")]).await?;
    for writes in
        [vec![put(&made, None, b"1")], vec![put(&old, Some(at), b"2")], vec![delete(&gone, Some(gone_at))]]
    {
        let key = writes[0].key.clone();
        place.door.deafen();
        let mut commit = store.commit(fence, writes.clone());
        // It has come through, and nobody knows.
        let waiting = tokio::time::timeout(Duration::from_millis(1500), &mut commit).await;
        ensure!(waiting.is_err(), "{waiting:?}");
        place.door.open();
        let revision = tokio::time::timeout(LIMIT, commit).await??;
        let found = store.find(&key).await?;
        ensure!(found.as_ref().map(|entry| &entry.value) == writes[0].value.as_ref(), "{found:?}");
        ensure!(found.is_none_or(|entry| entry.revision == revision));
    }
    // What it did not do is not its work.
    let other = store.commit(fence, vec![put(&old, Some(at), b"2")]).await;
    ensure!(matches!(other, Err(StoreError::Conflict { .. })), "{other:?}");
    Ok(())
}

#[test]
fn a_commit_whose_process_dies_half_way_is_ended_by_who_leads_next() -> Result<()> {
    const WRITES: usize = 300;
    needs_the_machine!();
    let place = Site::shared()?.place()?;
    let survivor = tokio::runtime::Runtime::new()?;
    let dying = tokio::runtime::Runtime::new()?;
    let (store, fence, old) = dying.block_on(async {
        let store = place.brief_store(4).await?;
        let fence = store.acquire("a").await?.fence;
        let old = Key::new("volume", "old");
        let at = store.commit(fence, vec![put(&old, None, b"1")]).await?;
        anyhow::Ok((store, fence, (old, at)))
    })?;
    let keys: Vec<Key> = (0..WRITES).map(|number| Key::new("volume", format!("v/{number}"))).collect();
    let mut writes: Vec<_> = keys.iter().map(|key| put(key, None, br#"{"a":1}"#)).collect();
    writes.push(delete(&old.0, Some(old.1)));
    let renewed = store::Lease { holder: "a".into(), fence, expires_in: None };
    dying.spawn(async move {
        let renewed = async {
            loop {
                let _ = store.renew(&renewed).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! { done = store.commit(fence, writes) => drop(done), () = renewed => {} }
    });
    until("half of the commit", LIMIT, || (place.count("volumes").ok()? > 20).then_some(()))?;
    // It ends where it waits next.
    dying.shutdown_timeout(LIMIT);
    let there = place.count("volumes")?;
    println!("{there} of {WRITES} records when its process died");
    ensure!(there < WRITES && place.count("commits")? == 1, "it was too fast: {there}");
    survivor.block_on(async {
        let store = place.brief_store(60).await?;
        let started = Instant::now();
        let lease = acquired(&store, "b").await?;
        println!("the next one leads, with all records, after {:.1?}", started.elapsed());
        ensure!(lease.fence > fence);
        let listed = store.list("volume").await?;
        ensure!(listed.len() == WRITES, "{} records", listed.len());
        ensure!(listed.iter().all(|entry| entry.value.as_ref() == br#"{"a":1}"#));
        let one = &listed[0];
        store.commit(lease.fence, vec![put(&one.key, Some(one.revision), b"{}")]).await?;
        anyhow::Ok(())
    })?;
    ensure!(place.count("commits")? == 0);
    Ok(())
}

/// A host that loses its power closes nothing; behind the same address another one answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_dead_without_saying_so_costs_no_lease() -> Result<()> {
    needs_the_machine!();
    /// Seconds: room for a machine that is busy.
    const LASTS: u64 = 16;
    let place = tokio::task::block_in_place(|| Site::shared()?.place())?;
    let store = place.brief_store(LASTS).await?;
    let lease = store.acquire("a").await?;
    let mut changes = store.watch("volume").await?;
    place.door.lose();
    // Has a connection of its own, and would take the lease as soon as it may.
    let rival = place.brief_store(LASTS).await?;
    let lost = Instant::now();
    let renewed = async {
        loop {
            match store.renew(&lease).await {
                Ok(()) => {
                    println!("renewed {:.1?} after the connection died", lost.elapsed());
                    tokio::time::sleep(Duration::from_secs(LASTS / 3)).await;
                }
                Err(StoreError::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(200)).await,
                Err(error) => break anyhow::Error::from(error),
            }
        }
    };
    let refused = async {
        while lost.elapsed() < Duration::from_secs(LASTS * 3 / 2) {
            let refused = rival.acquire("b").await;
            let is_held = matches!(&refused, Err(StoreError::Held { holder }) if holder == "a");
            ensure!(is_held || matches!(&refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    };
    tokio::select! {
        error = renewed => return Err(error),
        refused = refused => refused?,
    }
    let key = Key::new("volume", "v");
    let revision = store.commit(lease.fence, vec![put(&key, None, b"v")]).await?;
    let told = async {
        while let Some(change) = changes.next().await {
            if matches!(&change, Change::Put(entry) if entry.revision == revision) {
                return true;
            }
        }
        false
    };
    ensure!(tokio::time::timeout(LIMIT, told).await?, "the watch has ended");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_not_renewed_passes_on_and_its_holder_is_fenced() -> Result<()> {
    needs_the_machine!();
    let place = tokio::task::block_in_place(|| Site::shared()?.place())?;
    let [one, other] = [place.brief_store(4).await?, place.brief_store(4).await?];
    let old = one.acquire("a").await?;
    ensure!(matches!(other.acquire("b").await, Err(StoreError::Held { holder }) if holder == "a"));
    let new = acquired(&other, "b").await?;
    ensure!(new.fence > old.fence);
    let key = Key::new("volume", "v");
    let late = one.commit(old.fence, vec![put(&key, None, b"late")]).await;
    ensure!(matches!(late, Err(StoreError::Fenced { .. })), "{late:?}");
    ensure!(matches!(one.renew(&old).await, Err(StoreError::Fenced { .. })));
    // Nor does the apiserver take what comes by a clock that has stopped.
    let late = |fence: u64| {
        format!(
            "apiVersion: leister.io/v1\nkind: Volume\nmetadata: {{name: v, namespace: {}}}\n\
             record: {{text: '{{}}'}}\nwritten: {{fence: {fence}, token: t}}\n",
            place.namespace
        )
    };
    let written = |fence: u64| -> Result<kube_suite::Said> {
        let file = place.site.path(&format!("{}.yaml", place.namespace));
        std::fs::write(&file, late(fence))?;
        let file = file.display().to_string();
        place.site.kubectl(&["create", "--field-manager=leister", "--dry-run=server", "-f", &file])
    };
    let refused = written(old.fence.0)?;
    ensure!(refused.ok().is_err_and(|e| format!("{e:#}").contains("leads no more")));
    let renewed = other.renew(&new).await;
    ensure!(renewed.is_ok(), "{renewed:?}");
    written(new.fence.0)?.ok()?;
    ensure!(other.list("volume").await?.is_empty());
    // A Lease that somebody has deleted is lost, and its numbers do not begin anew.
    let watched = other.watch("volume").await?.next().now_or_never();
    ensure!(watched.is_none());
    place.kubectl(&["delete", "lease", "leister-writer"])?;
    ensure!(matches!(other.renew(&new).await, Err(StoreError::Fenced { .. })));
    ensure!(one.acquire("c").await?.fence >= new.fence);
    Ok(())
}
