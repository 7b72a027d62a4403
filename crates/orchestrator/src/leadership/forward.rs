//! Has the leader do something: a letter in the store, and the wait for its answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use store::{ANSWER, Entry, Key, LETTER, OPENED, Store};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::Role;
use super::ask::{Ask, Reply, unknown};
use crate::orchestrator::Inner;
use crate::{Error, ErrorKind, Result};

/// What came of a letter.
#[derive(Debug)]
pub(crate) enum Forwarded<T> {
    Done(T),
    /// It was not begun, or does no harm when it is done once more: to be done here if this instance leads now.
    Again,
}

/// Letters of this instance that wait for their answers.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    waiting: Mutex<HashMap<String, oneshot::Sender<Arc<[u8]>>>>,
    last: AtomicU64,
    /// Letters of others that this instance, which leads, is at work on.
    pub(super) settling: watch::Sender<usize>,
}

const FAREWELL: Duration = Duration::from_secs(5);
/// How often a letter is looked after whose answer may not have been told.
const LOOK: Duration = Duration::from_secs(2);
/// A letter that the store cannot show for so long is gone there: it has been taken from us.
const LOST: Duration = Duration::from_secs(15);

impl Inner {
    /// # Behavior
    /// Waits for as long as the letter is there, through changes of the leader. When the caller leaves, the letter is
    /// taken back; what was begun goes on. On return the catalogue shows what was done.
    ///
    /// # Errors
    /// What the leader says. `Unreachable` when the store does not take the letter: nothing has been done then, or it
    /// is not known.
    pub(crate) async fn forward<T: DeserializeOwned>(&self, ask: &Ask) -> Result<Forwarded<T>> {
        let store = self.writer.store();
        let Some(post) = store.post() else { return Err(self.writer.lost()) };
        let text = serde_json::to_vec(ask)
            .map_err(|e| Error::new(ErrorKind::Internal, "a request cannot be written as JSON").because(e))?;
        let (letter, mut answered) = self.answers.letter(self.writer.holder(), store.clone());
        let mut roles = self.writer.roles();
        post.send(&letter.id, text.into()).await.map_err(away)?;
        let mut heard = Instant::now();
        let answer = loop {
            tokio::select! {
                Ok(answer) = &mut answered => break answer,
                () = leads(&mut roles) => match look(store.as_ref(), &letter.id).await {
                    Ok(Seen::Answered(answer)) => break answer,
                    Ok(Seen::Opened | Seen::Gone) if !ask.is_repeatable() => return Err(unknown()),
                    Ok(_) => return Ok(Forwarded::Again),
                    Err(error) => return Err(error),
                },
                () = tokio::time::sleep(LOOK) => match look(store.as_ref(), &letter.id).await {
                    Ok(Seen::Answered(answer)) => break answer,
                    Ok(Seen::Waits | Seen::Opened) => heard = Instant::now(),
                    Ok(Seen::Gone) if ask.is_repeatable() => return Ok(Forwarded::Again),
                    Ok(Seen::Gone) => return Err(unknown()),
                    Err(error) if heard.elapsed() > LOST => return Err(silent(&error)),
                    Err(_) => {}
                },
            }
        };
        let reply: Reply = serde_json::from_slice(&answer).map_err(foreign)?;
        let result = reply.result?;
        if !self.writer.leads() {
            self.writer.reach(reply.revision).await?;
        }
        Ok(Forwarded::Done(serde_json::from_value(result).map_err(foreign)?))
    }
}

impl Answers {
    /// An answer that the store tells of; others' are not ours.
    pub(crate) fn deliver(&self, entry: &Entry) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&*entry.key.id);
        if let Some(waiting) = waiting {
            // Who does not wait any more takes its letter back.
            let _ = waiting.send(entry.value.clone());
        }
    }

    /// What others wait for has been answered, or takes too long.
    pub(crate) async fn settled(&self) {
        let mut settling = self.settling.subscribe();
        let settled = settling.wait_for(|count| *count == 0);
        if tokio::time::timeout(FAREWELL, settled).await.is_err() {
            tracing::info!("what others asked for is left to whoever leads next");
        }
    }

    fn letter(
        self: &Arc<Self>,
        holder: &str,
        store: Arc<dyn Store>,
    ) -> (Letter, oneshot::Receiver<Arc<[u8]>>) {
        let id = format!("{holder}/{:010}", self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), sender);
        (Letter { id, answers: self.clone(), store }, receiver)
    }
}

/// Taken back when it is dropped: also what was answered must not lie there.
struct Letter {
    id: String,
    answers: Arc<Answers>,
    store: Arc<dyn Store>,
}

impl Drop for Letter {
    fn drop(&mut self) {
        self.answers.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        let (id, store) = (std::mem::take(&mut self.id), self.store.clone());
        tokio::spawn(async move {
            const TRIES: usize = 5;
            let Some(post) = store.post() else { return };
            for _ in 0..TRIES {
                match post.withdraw(&id).await {
                    Ok(()) => return,
                    // It goes with our session in the end.
                    Err(error) => tracing::debug!(%error, "a letter is not taken back yet"),
                }
                tokio::time::sleep(LOOK).await;
            }
        });
    }
}

enum Seen {
    Waits,
    Opened,
    Answered(Arc<[u8]>),
    Gone,
}

/// The letter first: an answer takes its place in one step.
async fn look(store: &dyn Store, id: &str) -> Result<Seen> {
    let waits = store.find(&Key::new(LETTER, id)).await?.is_some();
    if let Some(answer) = store.find(&Key::new(ANSWER, id)).await? {
        return Ok(Seen::Answered(answer.value));
    }
    let is_opened = store.find(&Key::new(OPENED, id)).await?.is_some();
    Ok(match (waits, is_opened) {
        (true, false) => Seen::Waits,
        (true, true) => Seen::Opened,
        (false, _) => Seen::Gone,
    })
}

async fn leads(roles: &mut watch::Receiver<Role>) {
    // Its sender lives as long as the writer, which asks.
    let _ = roles.wait_for(|role| role.fence().is_some()).await;
}

fn away(error: store::StoreError) -> Error {
    let error = Error::from(error);
    let message = format!("nothing can be changed now: {}", error.sentence());
    Error::new(ErrorKind::Unreachable, message)
        .hint("what is mounted goes on; ask again when the store answers")
}

fn silent(error: &Error) -> Error {
    let message = format!("no answer came, whether this was done is not known: {}", error.sentence());
    Error::new(ErrorKind::Unreachable, message)
        .hint("look when the store answers, and ask again if it was not")
}

fn foreign(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Unsupported, "the leader answers in a way that this version does not understand")
        .hint("run the same version of leister on all hosts")
        .because(error)
}
