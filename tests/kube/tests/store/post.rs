//! Letters and names.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt;
use kube_suite::needs_the_machine;
use store::{ANSWER, Change, Key, LETTER, OPENED, Post as _, Store as _, StoreError};

use crate::site::{LIMIT, Site};

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_answered_once_and_by_the_holder_of_the_lease_alone() -> Result<()> {
    needs_the_machine!();
    let place = tokio::task::block_in_place(|| Site::shared()?.place())?;
    let [leads, follows, dies] = [place.store().await?, place.store().await?, place.store().await?];
    let stale = leads.acquire("a").await?.fence;
    let fence = leads.acquire("a").await?.fence;
    let mut answers = follows.watch(ANSWER).await?;
    let mut letters = leads.watch(LETTER).await?;
    follows.send("b/1", b"ask".as_slice().into()).await?;
    dies.send("c/1", b"ask".as_slice().into()).await?;
    // A leader's claim looks after what the dead have left.
    leads.claim("node/leads", "here").await?;
    drop(dies);
    let ids = async |kind| -> Result<Vec<String>> {
        Ok(leads.list(kind).await?.iter().map(|entry| entry.key.id.to_string()).collect())
    };
    ensure!(ids(LETTER).await? == ["b/1", "c/1"]);
    let told = tokio::time::timeout(LIMIT, letters.next()).await?.context("the watch goes on")?;
    ensure!(matches!(&told, Change::Put(entry) if &*entry.key.id == "b/1"), "{told:?}");
    let reply = || -> Arc<[u8]> { b"done".as_slice().into() };
    ensure!(matches!(follows.answer(stale, "b/1", reply()).await, Err(StoreError::Fenced { .. })));
    ensure!(matches!(follows.open(stale, "b/1").await, Err(StoreError::Fenced { .. })));
    ensure!(matches!(follows.open(fence, "b/1").await, Err(StoreError::Fenced { .. })));
    leads.open(fence, "b/1").await?;
    ensure!((ids(OPENED).await?, ids(ANSWER).await?) == (vec!["b/1".to_owned()], vec![]));
    leads.answer(fence, "b/1", reply()).await?;
    leads.answer(fence, "b/1", b"again".as_slice().into()).await?;
    leads.answer(fence, "nobody's", reply()).await?;
    let told = tokio::time::timeout(LIMIT, answers.next()).await?.context("the watch goes on")?;
    ensure!(matches!(&told, Change::Put(entry) if entry.value.as_ref() == b"done"), "{told:?}");
    ensure!(ids(LETTER).await? == ["c/1"]);
    let answer = follows.find(&Key::new(ANSWER, "b/1")).await?.context("it is answered")?;
    ensure!(answer.value.as_ref() == b"done");
    follows.withdraw("b/1").await?;
    follows.withdraw("b/1").await?;
    ensure!((ids(OPENED).await?, ids(ANSWER).await?) == (vec![], vec![]));
    let forgotten = async {
        while !ids(LETTER).await?.is_empty() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LIMIT, forgotten).await.context("the letter of a dead process goes by itself")?
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_one_owners_and_what_was_kept_first_stays() -> Result<()> {
    needs_the_machine!();
    let place = tokio::task::block_in_place(|| Site::shared()?.place())?;
    let [one, two] = [place.store().await?, place.store().await?];
    one.claim("node/x", "here").await?;
    one.claim("node/x", "here").await?;
    let other = two.claim("node/x", "there").await;
    ensure!(matches!(&other, Err(StoreError::Held { holder }) if holder == "here"), "{other:?}");
    two.claim("node/y", "there").await?;
    // The same host again, after a crash.
    two.claim("node/x", "here").await?;
    ensure!(one.keep("instance", "a").await? == "a");
    ensure!(two.keep("instance", "b").await? == "a");
    // One that has died leaves its name.
    drop(two);
    let left = async {
        while one.claim("node/y", "here").await.is_err() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(LIMIT, left).await.context("the name of a dead process is free after a while")
}
