//! Letters to the holder of the lease: one object for each, with its mark and its answer.

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Call, Failed, PATIENCE, PAUSE};
use super::object::{Content, Metadata, name_of, number};
use super::policy::is_late;
use super::session::SESSION;
use super::{COMMITS, GROUP, KubernetesStore, LETTERS};
use crate::{ANSWER, Entry, Fence, Key, Kind, LETTER, OPENED, Post, Revision, StoreError};

pub(super) const KINDS: [Kind; 3] = [LETTER, OPENED, ANSWER];

/// Three kinds of entries in one object, so that they change together.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Letter {
    metadata: Metadata,
    pub(super) id: String,
    letter: Content,
    #[serde(default)]
    opened: bool,
    #[serde(default)]
    answered: bool,
    #[serde(default)]
    answer: Content,
}

const SEND: &str = "send a letter";
const ANSWERED: &str = "answer a letter";
const ATTEMPTS: usize = 3;

impl Letter {
    pub(super) fn version(&self) -> u64 {
        number(&self.metadata.resource_version)
    }

    /// What of this kind there is of it.
    pub(super) fn entry(&self, kind: Kind) -> Option<Entry> {
        let value = match kind {
            LETTER if !self.answered => self.letter.bytes(),
            OPENED if self.opened => Ok(Arc::default()),
            ANSWER if self.answered => self.answer.bytes(),
            _ => return None,
        };
        match value {
            Ok(value) => {
                Some(Entry { key: Key::new(kind, &self.id), value, revision: Revision(self.version()) })
            }
            Err(problem) => {
                tracing::error!(
                    name = self.metadata.name,
                    problem,
                    "a letter cannot be read; it is left alone"
                );
                None
            }
        }
    }
}

impl KubernetesStore {
    pub(super) async fn letters(&self, kind: Kind) -> Result<Vec<Entry>, StoreError> {
        let letters: Vec<Letter> = self.inner.list(LETTERS).await?;
        let mut entries: Vec<Entry> = letters.iter().filter_map(|letter| letter.entry(kind)).collect();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(entries)
    }

    pub(super) async fn letter(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let found = self.look_for(&key.id).await?;
        Ok(found.and_then(|letter| letter.entry(key.kind)))
    }

    async fn look_for(&self, id: &str) -> Result<Option<Letter>, StoreError> {
        self.inner.client.get("read a letter", &resource(id)).await
    }

    /// Changes a letter as long as it is not answered; one that is gone or answered stays so.
    async fn mark(&self, fence: Fence, id: &str, changes: &[Value]) -> Result<(), StoreError> {
        let token = self.inner.token();
        let mut patch = vec![
            json!({ "op": "test", "path": "/answered", "value": false }),
            json!({ "op": "add", "path": "/written", "value": { "fence": fence.0, "token": token } }),
        ];
        patch.extend_from_slice(changes);
        let body = Value::Array(patch);
        let mut attempt = 1;
        loop {
            let left = self.inner.ballot.left(&self.inner.client, fence).await?;
            let limit = left.min(PATIENCE);
            let resource = resource(id);
            let call = Call { body: Some(&body), limit, ..Call::of(ANSWERED, Method::PATCH, &resource) };
            match self.inner.client.once::<Value>(&call).await {
                Ok(_) | Err(Failed::Refused { code: 404, .. }) => return Ok(()),
                Err(failed) if is_late(&failed) => {
                    return Err(self.inner.ballot.fenced(&self.inner.client, fence).await);
                }
                Err(Failed::Refused { code: 422, message }) => match self.look_for(id).await? {
                    Some(letter) if !letter.answered => {
                        return Err(Failed::Refused { code: 422, message }.into_error(ANSWERED));
                    }
                    // Also by ourselves, when the answer to that got lost.
                    _ => return Ok(()),
                },
                Err(failed) if failed.is_passing() && attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(failed) => return Err(failed.into_error(ANSWERED)),
            }
        }
    }
}

#[async_trait]
impl Post for KubernetesStore {
    async fn leader(&self) -> Result<Option<String>, StoreError> {
        self.inner.ballot.holder(&self.inner.client).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.inner.revision_of(COMMITS).await.map(Revision)
    }

    async fn send(&self, id: &str, letter: Arc<[u8]>) -> Result<(), StoreError> {
        let session = self.session.name().await?;
        let body = json!({
            "apiVersion": format!("{GROUP}/v1"), "kind": "Letter",
            "metadata": { "name": name_of(id), "labels": { SESSION: session } },
            "id": id, "letter": Content::of(&letter), "opened": false, "answered": false,
        });
        let mut attempt = 1;
        loop {
            let call = Call { body: Some(&body), ..Call::of(SEND, Method::POST, LETTERS) };
            match self.inner.client.once::<Value>(&call).await {
                // It was sent, and the answer to that got lost.
                Ok(_) | Err(Failed::Refused { code: 409, .. }) => return Ok(()),
                Err(failed) if failed.is_passing() && attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(failed) => return Err(failed.into_error(SEND)),
            }
        }
    }

    async fn open(&self, fence: Fence, id: &str) -> Result<(), StoreError> {
        self.mark(fence, id, &[json!({ "op": "add", "path": "/opened", "value": true })]).await
    }

    async fn answer(&self, fence: Fence, id: &str, answer: Arc<[u8]>) -> Result<(), StoreError> {
        let changes = [
            json!({ "op": "add", "path": "/answered", "value": true }),
            json!({ "op": "add", "path": "/answer", "value": Content::of(&answer) }),
        ];
        self.mark(fence, id, &changes).await
    }

    async fn withdraw(&self, id: &str) -> Result<(), StoreError> {
        self.inner.client.delete("take a letter back", &resource(id)).await
    }

    async fn claim(&self, name: &str, owner: &str) -> Result<(), StoreError> {
        self.session.claim(name, owner).await
    }
}

fn resource(id: &str) -> String {
    format!("{LETTERS}/{}", name_of(id))
}
