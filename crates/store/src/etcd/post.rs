//! Letters to the holder of the lease: keys on an etcd lease of their sender's.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::client::Client;
use super::wire::{
    DeleteRequest, GrantRequest, GrantResponse, KeepAlive, KeyValue, LeaseId, PutRequest, RangeRequest,
    Request, TxnRequest, TxnResponse,
};
use super::{EtcdStore, TXN, held_by, is_at, look, looked, op, revision, signed};
use crate::{ANSWER, Fence, Key, Kind, LETTER, OPENED, Post, Revision, StoreError};

/// The etcd lease on which hangs what shall go when this process does.
#[derive(Debug)]
pub(super) struct Session {
    client: Arc<Client>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lease: Option<i64>,
    /// Names that are ours; taken again when a lease was lost.
    claims: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// How long letters and claims outlive their process.
const LASTS: Duration = Duration::from_secs(10);
const KEPT_EVERY: Duration = Duration::from_secs(2);

impl Session {
    pub(super) fn new(client: Arc<Client>) -> Arc<Session> {
        let session = Arc::new(Session { client, state: Mutex::default() });
        tokio::spawn(keep(Arc::downgrade(&session)));
        session
    }

    async fn lease(&self) -> Result<i64, StoreError> {
        self.lease_in(&mut *self.state.lock().await).await
    }

    async fn lease_in(&self, state: &mut State) -> Result<i64, StoreError> {
        if let Some(lease) = state.lease {
            return Ok(lease);
        }
        let request = GrantRequest { ttl: i64::try_from(LASTS.as_secs()).unwrap_or(i64::MAX) };
        let path = "/etcdserverpb.Lease/LeaseGrant";
        let granted: GrantResponse = self.client.repeat("begin a session", path, request).await?;
        state.lease = Some(granted.id);
        for (key, owner) in state.claims.clone() {
            if let Err(error) = self.take(key, owner, granted.id).await {
                tracing::error!(%error, "a name of this process could not be taken again");
            }
        }
        Ok(granted.id)
    }

    /// A lease that the cluster does not know any more.
    async fn end(&self, lease: i64) {
        let mut state = self.state.lock().await;
        if state.lease == Some(lease) {
            state.lease = None;
        }
    }

    /// Puts a key on the session; one that is there already must be the same owner's.
    async fn take(&self, key: Vec<u8>, owner: Vec<u8>, lease: i64) -> Result<(), StoreError> {
        let mut seen = 0;
        loop {
            let put = PutRequest { key: key.clone(), value: owner.clone(), lease };
            let txn = TxnRequest {
                compare: vec![is_at(key.clone(), seen)],
                success: vec![op(Request::Put(put))],
                failure: vec![look(key.clone())],
            };
            let taken: TxnResponse = self.client.repeat("claim a name", TXN, txn).await?;
            if taken.succeeded {
                return Ok(());
            }
            match looked(&taken).next().flatten() {
                Some(other) if other.value != owner => {
                    return Err(StoreError::Held {
                        holder: String::from_utf8_lossy(&other.value).into_owned(),
                    });
                }
                found => seen = found.map_or(0, |kv| kv.mod_revision),
            }
        }
    }
}

/// Renews the session for as long as there is one.
async fn keep(session: Weak<Session>) {
    loop {
        tokio::time::sleep(KEPT_EVERY).await;
        let Some(session) = session.upgrade() else { return };
        let mut state = session.state.lock().await;
        let Some(id) = state.lease else { continue };
        let path = "/etcdserverpb.Lease/LeaseKeepAlive";
        let kept = session.client.call_streamed::<_, KeepAlive>("keep a session", path, LeaseId { id }).await;
        match kept {
            Ok(kept) if kept.ttl <= 0 => {
                tracing::warn!("the session with etcd has run out; what waited for an answer is given up");
                state.lease = None;
                if !state.claims.is_empty()
                    && let Err(error) = session.lease_in(&mut state).await
                {
                    tracing::warn!(%error, "no new session with etcd yet");
                }
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the session with etcd is not kept for now"),
        }
    }
}

#[async_trait]
impl Post for EtcdStore {
    async fn leader(&self) -> Result<Option<String>, StoreError> {
        let writer = self.writer().await?.0;
        Ok(writer.map(|kv| String::from_utf8_lossy(&kv.value).into_owned()))
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.writer().await?.1)
    }

    async fn send(&self, id: &str, letter: Arc<[u8]>) -> Result<(), StoreError> {
        let lease = self.session.lease().await?;
        match self.put(id, &letter, lease).await {
            Err(error) if is_over(&error) => {
                self.session.end(lease).await;
                let lease = self.session.lease().await?;
                self.put(id, &letter, lease).await
            }
            sent => sent,
        }
    }

    async fn open(&self, fence: Fence, id: &str) -> Result<(), StoreError> {
        let Some(letter) = self.letter(id).await? else { return Ok(()) };
        self.beside(fence, id, letter, OPENED, Arc::default(), false).await
    }

    async fn answer(&self, fence: Fence, id: &str, answer: Arc<[u8]>) -> Result<(), StoreError> {
        let Some(letter) = self.letter(id).await? else { return Ok(()) };
        self.beside(fence, id, letter, ANSWER, answer, true).await
    }

    async fn withdraw(&self, id: &str) -> Result<(), StoreError> {
        let keys = [LETTER, OPENED, ANSWER].map(|kind| self.key(&Key::new(kind, id)));
        let deletes = keys.map(|key| op(Request::Delete(DeleteRequest { key })));
        let txn = TxnRequest { success: deletes.to_vec(), ..TxnRequest::default() };
        self.client.repeat::<_, TxnResponse>("take a letter back", TXN, txn).await.map(drop)
    }

    async fn claim(&self, name: &str, owner: &str) -> Result<(), StoreError> {
        let (key, owner) = (format!("{}/claims/{name}", self.prefix).into_bytes(), owner.as_bytes().to_vec());
        let mut state = self.session.state.lock().await;
        let lease = self.session.lease_in(&mut state).await?;
        self.session.take(key.clone(), owner.clone(), lease).await?;
        state.claims.insert(key, owner);
        Ok(())
    }
}

impl EtcdStore {
    async fn put(&self, id: &str, letter: &[u8], lease: i64) -> Result<(), StoreError> {
        let put = PutRequest { key: self.key(&Key::new(LETTER, id)), value: letter.to_vec(), lease };
        let txn = TxnRequest { success: vec![op(Request::Put(put))], ..TxnRequest::default() };
        self.client.repeat::<_, TxnResponse>("send a letter", TXN, txn).await.map(drop)
    }

    async fn letter(&self, id: &str) -> Result<Option<KeyValue>, StoreError> {
        let key = self.key(&Key::new(LETTER, id));
        let found = self.range(RangeRequest { key, ..RangeRequest::default() }).await?;
        Ok(found.kvs.into_iter().next())
    }

    /// Puts an entry on the lease of a letter, if that is still there as it was seen.
    async fn beside(
        &self,
        fence: Fence,
        id: &str,
        letter: KeyValue,
        kind: Kind,
        value: Arc<[u8]>,
        ends: bool,
    ) -> Result<(), StoreError> {
        let put =
            PutRequest { key: self.key(&Key::new(kind, id)), value: value.to_vec(), lease: letter.lease };
        let mut success = vec![op(Request::Put(put))];
        if ends {
            success.push(op(Request::Delete(DeleteRequest { key: letter.key.clone() })));
        }
        let txn = TxnRequest {
            compare: vec![
                is_at(self.writer_key(), signed(fence.0)),
                is_at(letter.key.clone(), letter.mod_revision),
            ],
            success,
            failure: vec![look(self.writer_key())],
        };
        let done: TxnResponse = match self.client.repeat("answer a letter", TXN, txn).await {
            // The sender has died just now, and its lease with it.
            Err(error) if is_over(&error) => return Ok(()),
            done => done?,
        };
        if !done.succeeded {
            held_by(looked(&done).next().flatten().cloned(), fence, revision(done.header.as_ref()))?;
        }
        Ok(())
    }
}

fn is_over(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable { source, .. } if source.to_string().contains("lease not found"))
}
