//! The leader's side: reads letters, does what they ask for, and answers in their place.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use store::{Change, Entry, Fence, LETTER, OPENED, StoreError};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::PAUSE;
use super::ask::{Ask, Refused, Reply, unknown};
use super::forward::Answers;
use crate::backend::BackendHealth;
use crate::orchestrator::Orchestrator;
use crate::{Error, ErrorKind, Result};

/// How long letters that wait already wait for backends that open.
const OPENING: Duration = Duration::from_secs(10);

/// Less than etcd takes by default.
const LARGEST: usize = 1 << 20;

/// Serves letters while this instance leads.
pub(super) async fn serve(orchestrator: Orchestrator) {
    let Ok(fence) = orchestrator.inner().writer.fence() else { return };
    let mut desk = Desk { orchestrator, fence, seen: HashSet::new(), opened: None, work: JoinSet::new() };
    loop {
        if let Err(error) = desk.read().await {
            tracing::debug!(error = error.sentence(), "letters are not read for now");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

struct Desk {
    orchestrator: Orchestrator,
    fence: Fence,
    seen: HashSet<Arc<str>>,
    /// Letters that a leader before us has opened, and not answered.
    opened: Option<HashSet<Arc<str>>>,
    work: JoinSet<()>,
}

impl Desk {
    async fn read(&mut self) -> Result<()> {
        let store = self.orchestrator.inner().writer.store().clone();
        let mut changes = store.watch(LETTER).await?;
        if self.opened.is_none() {
            let opened = store.list(OPENED).await?;
            self.opened = Some(opened.into_iter().map(|entry| entry.key.id).collect());
            self.wait_for_backends().await;
        }
        let mut waiting = store.list(LETTER).await?;
        waiting.sort_by_key(|letter| letter.revision);
        for letter in waiting {
            self.take(letter);
        }
        while let Some(change) = changes.next().await {
            match change {
                Change::Put(letter) => self.take(letter),
                Change::Deleted(key, _) => drop(self.seen.remove(&key.id)),
                Change::Lagged => return Ok(()),
            }
            while self.work.try_join_next().is_some() {}
        }
        Ok(())
    }

    /// Those who have waited for a leader would be told that it has just begun.
    async fn wait_for_backends(&self) {
        let until = Instant::now() + OPENING;
        let is_opening = || {
            let backends = self.orchestrator.inner().backends.all();
            backends.values().any(|backend| matches!(*backend.health(), BackendHealth::Opening))
        };
        while is_opening() && Instant::now() < until {
            tokio::time::sleep(PAUSE / 4).await;
        }
    }

    fn take(&mut self, letter: Entry) {
        // What this instance asked for before it led, it does now without a letter.
        let writer = &self.orchestrator.inner().writer;
        if self.orchestrator.inner().stopping.is_cancelled() {
            // Left to whoever leads next.
            return;
        }
        let is_own = letter.key.id.rsplit_once('/').is_some_and(|(sender, _)| sender == writer.holder());
        if is_own || !self.seen.insert(letter.key.id.clone()) {
            return;
        }
        let is_opened = self.opened.as_ref().is_some_and(|opened| opened.contains(&letter.key.id));
        let (orchestrator, fence) = (self.orchestrator.clone(), self.fence);
        let counted = Counted::new(orchestrator.inner().answers.clone());
        self.work.spawn(async move {
            settle(&orchestrator, fence, &letter, is_opened).await;
            drop(counted);
        });
    }
}

/// One letter more that is being settled, until it is dropped.
struct Counted(Arc<Answers>);

impl Counted {
    fn new(answers: Arc<Answers>) -> Counted {
        answers.settling.send_modify(|count| *count += 1);
        Counted(answers)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.settling.send_modify(|count| *count -= 1);
    }
}

async fn settle(orchestrator: &Orchestrator, fence: Fence, letter: &Entry, is_opened: bool) {
    let id = &letter.key.id;
    let result = match serde_json::from_slice::<Ask>(&letter.value) {
        Err(error) => Err(foreign(error)),
        Ok(ask) if ask.is_repeatable() => ask.perform(orchestrator).await,
        Ok(_) if is_opened => Err(unknown()),
        Ok(ask) => match until_sure(orchestrator, fence, |post| post.open(fence, id)).await {
            true => ask.perform(orchestrator).await,
            false => return,
        },
    };
    let writer = &orchestrator.inner().writer;
    if !writer.leads() {
        // Whoever leads now reads the letter and answers it.
        return;
    }
    let reply = Reply { revision: writer.revision(), result: result.map_err(Refused::from) };
    match serde_json::to_vec(&reply) {
        Ok(text) => {
            let text: Arc<[u8]> = if text.len() > LARGEST { too_large() } else { text }.into();
            until_sure(orchestrator, fence, |post| post.answer(fence, id, text.clone())).await;
        }
        Err(error) => tracing::error!(%error, "an answer cannot be written"),
    }
}

/// Tries until the store has done it; false when this instance leads no more.
async fn until_sure<'a, F>(
    orchestrator: &'a Orchestrator,
    fence: Fence,
    work: impl Fn(&'a dyn store::Post) -> F,
) -> bool
where
    F: Future<Output = Result<(), StoreError>>,
{
    let writer = &orchestrator.inner().writer;
    let Some(post) = writer.store().post() else { return false };
    loop {
        if writer.fence().ok() != Some(fence) {
            return false;
        }
        match work(post).await {
            Ok(()) => return true,
            Err(StoreError::Fenced { .. }) => return false,
            Err(error) => tracing::debug!(%error, "a letter is not settled yet"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn too_large() -> Vec<u8> {
    let error = Error::new(ErrorKind::Unsupported, "the answer is too large to be passed on")
        .hint("ask the instance that leads; `leister version` names it");
    serde_json::to_vec(&Reply { revision: 0, result: Err(error.into()) }).unwrap_or_default()
}

fn foreign(error: serde_json::Error) -> Error {
    let message = format!("the leader (version {}) does not know this request", env!("CARGO_PKG_VERSION"));
    Error::new(ErrorKind::Unsupported, message)
        .hint("run the same version of leister on all hosts")
        .because(error)
}
