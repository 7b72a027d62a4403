//! A store in an etcd cluster, which several processes share.

mod client;
mod feeder;
mod post;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::task::JoinHandle;

use self::client::Client;
pub use self::client::{EtcdConfig, EtcdUser};
use self::feeder::{Feeder, Told};
use self::post::Session;
use self::wire::{
    Compare, DeleteRequest, GrantRequest, GrantResponse, KeepAlive, KeyValue, LeaseId, Nothing, PutRequest,
    RangeRequest, RangeResponse, Request, RequestOp, Response, Target, TxnRequest, TxnResponse,
};
use crate::feed::Feed;
use crate::{Change, Entry, Fence, Key, Kind, Lease, Post, Revision, Store, StoreError, Write};

/// Records in etcd, below a prefix.
///
/// # Behavior
/// The lease is a key that carries its holder and hangs on an etcd lease; the fencing number is the revision of
/// that key, which etcd only ever lets grow. Each commit is one transaction that compares it, so a writer that
/// lost its lease changes nothing, however late its request arrives. Reads are linearizable. A commit without an
/// answer is sent to every other member in turn, and knows its own work when it meets it. If none answers it is
/// `Unavailable`: it may have happened.
///
/// A watch that was cut comes back by itself; a commit waits at most 2 s for it, then its change is told later.
///
/// A commit has at most as many writes as the servers' `--max-txn-ops` less one (127 by default), and as many
/// bytes as their `--max-request-bytes` (1.5 MiB by default); more is `TooLarge`.
#[derive(Debug)]
pub struct EtcdStore {
    client: Arc<Client>,
    prefix: String,
    feed: Arc<Feed>,
    told: Told,
    kinds: Arc<Mutex<BTreeSet<Kind>>>,
    session: Arc<Session>,
    feeder: JoinHandle<()>,
}

/// How long a lease lasts without renewal.
const LASTS: Duration = Duration::from_secs(6);
const PAGE: i64 = 1000;
const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";
const MOD: i32 = 2;

impl EtcdStore {
    /// Connects; the records below the prefix are those of the instance.
    ///
    /// # Errors
    /// A config that cannot be used, or no member that answers.
    pub async fn open(config: &EtcdConfig) -> Result<EtcdStore, StoreError> {
        let client = Arc::new(Client::open(config)?);
        let prefix = config.prefix.trim_end_matches('/').to_owned();
        let feed = Arc::new(Feed::new(crate::feed::CAPACITY));
        let kinds = Arc::<Mutex<BTreeSet<Kind>>>::default();
        let range = RangeRequest { key: format!("{prefix}/writer").into_bytes(), ..RangeRequest::default() };
        let now: RangeResponse = client.repeat("reach etcd", RANGE, range).await?;
        let from = revision(now.header.as_ref()).0 + 1;
        let root = format!("{prefix}/records/");
        let (feeder, told) = Feeder::new(client.clone(), feed.clone(), kinds.clone(), root, from);
        let feeder = tokio::spawn(feeder.run());
        let session = Session::new(client.clone());
        Ok(EtcdStore { client, prefix, feed, told, kinds, session, feeder })
    }

    /// The value that was kept first under a name, now and for ever: this one, or another process's.
    ///
    /// # Errors
    /// No member answers.
    pub async fn keep(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let key = format!("{}/kept/{name}", self.prefix).into_bytes();
        let put = PutRequest { key: key.clone(), value: value.into(), lease: 0 };
        let txn = TxnRequest {
            compare: vec![is_at(key.clone(), 0)],
            success: vec![op(Request::Put(put))],
            failure: vec![look(key)],
        };
        let kept: TxnResponse = self.client.repeat("keep a value", TXN, txn).await?;
        let found = looked(&kept).next().flatten().filter(|_| !kept.succeeded);
        Ok(found.map_or_else(|| value.to_owned(), |kv| String::from_utf8_lossy(&kv.value).into_owned()))
    }

    fn writer_key(&self) -> Vec<u8> {
        format!("{}/writer", self.prefix).into_bytes()
    }

    fn root(&self, kind: Kind) -> String {
        format!("{}/records/{kind}/", self.prefix)
    }

    fn key(&self, key: &Key) -> Vec<u8> {
        format!("{}{}", self.root(key.kind), key.id).into_bytes()
    }

    async fn range(&self, range: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.client.repeat("read records", RANGE, range).await
    }

    /// Who has the lease, if anybody, and the revision now.
    async fn writer(&self) -> Result<(Option<KeyValue>, Revision), StoreError> {
        let found = self.range(RangeRequest { key: self.writer_key(), ..RangeRequest::default() }).await?;
        let now = revision(found.header.as_ref());
        Ok((found.kvs.into_iter().next(), now))
    }

    async fn grant(&self) -> Result<GrantResponse, StoreError> {
        let request = GrantRequest { ttl: i64::try_from(LASTS.as_secs()).unwrap_or(i64::MAX) };
        self.client.repeat("take a lease", "/etcdserverpb.Lease/LeaseGrant", request).await
    }

    /// What hangs on an etcd lease goes with it.
    async fn revoke(&self, id: i64) {
        let path = "/etcdserverpb.Lease/LeaseRevoke";
        let revoked = self.client.call::<_, Nothing>("give a lease up", path, LeaseId { id }).await;
        if let Err(error) = revoked {
            tracing::debug!(%error, "a lease is left to expire");
        }
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn acquire(&self, holder: &str) -> Result<Lease, StoreError> {
        let (before, _) = self.writer().await?;
        let is_other = |kv: &KeyValue| kv.value != holder.as_bytes();
        if let Some(other) = before.as_ref().filter(|kv| is_other(kv)) {
            return Err(held(other));
        }
        let lease = self.grant().await?;
        let seen = before.as_ref().map_or(0, |kv| kv.mod_revision);
        let put = PutRequest { key: self.writer_key(), value: holder.into(), lease: lease.id };
        let taken = TxnRequest {
            compare: vec![is_at(self.writer_key(), seen)],
            success: vec![op(Request::Put(put))],
            failure: vec![look(self.writer_key())],
        };
        let taken: TxnResponse = self.client.call("acquire the lease", TXN, taken).await?;
        if !taken.succeeded {
            self.revoke(lease.id).await;
            let winner = looked(&taken).next().flatten().cloned();
            return Err(held(&winner.unwrap_or_default()));
        }
        if let Some(before) = before.filter(|kv| kv.lease != 0) {
            self.revoke(before.lease).await;
        }
        let fence = Fence(revision(taken.header.as_ref()).0);
        let lasts = Duration::from_secs(u64::try_from(lease.ttl).unwrap_or_default());
        Ok(Lease { holder: holder.to_owned(), fence, expires_in: Some(lasts) })
    }

    async fn renew(&self, lease: &Lease) -> Result<(), StoreError> {
        let range = RangeRequest { key: self.writer_key(), ..RangeRequest::default() };
        let found: RangeResponse = self.client.glance("renew the lease", RANGE, range).await?;
        let now = revision(found.header.as_ref());
        let writer = found.kvs.into_iter().next();
        let writer = held_by(writer, lease.fence, now)?;
        let request = LeaseId { id: writer.lease };
        let path = "/etcdserverpb.Lease/LeaseKeepAlive";
        let kept: KeepAlive = self.client.call_streamed("renew the lease", path, request).await?;
        if kept.ttl > 0 {
            return Ok(());
        }
        let (writer, now) = self.writer().await?;
        let current = Fence(writer.map_or(now.0, |kv| number(kv.mod_revision)));
        Err(StoreError::Fenced { presented: lease.fence, current })
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        let released = TxnRequest {
            compare: vec![is_at(self.writer_key(), signed(lease.fence.0))],
            success: vec![op(Request::Delete(DeleteRequest { key: self.writer_key() }))],
            failure: Vec::new(),
        };
        self.client.repeat::<_, TxnResponse>("release the lease", TXN, released).await.map(|_| ())
    }

    async fn list(&self, kind: Kind) -> Result<Vec<Entry>, StoreError> {
        let root = self.root(kind).into_bytes();
        let mut range = RangeRequest {
            range_end: end_of(&root),
            key: root.clone(),
            limit: PAGE,
            ..RangeRequest::default()
        };
        let mut entries = Vec::new();
        loop {
            let page = self.range(range.clone()).await?;
            // The pages that follow show the same moment as the first.
            if range.revision == 0 {
                range.revision = signed(revision(page.header.as_ref()).0);
            }
            for kv in &page.kvs {
                entries.push(entry(kind, &root, kv)?);
            }
            match page.kvs.last() {
                Some(last) if page.more => range.key = [last.key.as_slice(), &[0]].concat(),
                _ => return Ok(entries),
            }
        }
    }

    async fn find(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let found = self.range(RangeRequest { key: self.key(key), ..RangeRequest::default() }).await?;
        let root = self.root(key.kind).into_bytes();
        found.kvs.first().map(|kv| entry(key.kind, &root, kv)).transpose()
    }

    async fn commit(&self, fence: Fence, writes: Vec<Write>) -> Result<Revision, StoreError> {
        let (firsts, mut ops, clash) = self.fold(&writes);
        if clash.is_some() {
            ops.clear();
        }
        let is_told = ops
            .iter()
            .zip(&firsts)
            .any(|(op, first)| matches!(op.request, Some(Request::Put(_))) || first.expected.is_some());
        let compares = firsts.iter().map(|write| {
            is_at(self.key(&write.key), write.expected.map_or(0, |expected| signed(expected.0)))
        });
        // An absent lease has the revision 0: nobody's number.
        let writer = if fence.0 == 0 { i64::MAX } else { signed(fence.0) };
        let txn = TxnRequest {
            compare: std::iter::once(is_at(self.writer_key(), writer)).chain(compares).collect(),
            success: ops,
            failure: std::iter::once(look(self.writer_key()))
                .chain(firsts.iter().map(|write| look(self.key(&write.key))))
                .collect(),
        };
        let wanted = txn.success.clone();
        let (done, is_again): (TxnResponse, bool) = self.client.insist("commit", TXN, txn).await?;
        let now = revision(done.header.as_ref());
        let at = if done.succeeded {
            now
        } else {
            let mut found = looked(&done);
            held_by(found.next().flatten().cloned(), fence, now)?;
            let found: Vec<_> = found.collect();
            let own = if is_again { own_work(&wanted, &found, now) } else { None };
            own.ok_or_else(|| conflict(&firsts, &found))?
        };
        if let Some(clash) = clash {
            return Err(clash);
        }
        if is_told {
            self.told.wait(at, &self.feed).await;
        }
        Ok(at)
    }

    async fn watch(&self, kind: Kind) -> Result<BoxStream<'static, Change>, StoreError> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).insert(kind);
        let changes = self.feed.watch(kind);
        let (_, since) = self.writer().await?;
        // The feed may be behind: what was committed before is not told.
        let is_new = move |change: &Change| match change {
            Change::Put(entry) => entry.revision > since,
            Change::Deleted(_, revision) => *revision > since,
            Change::Lagged => true,
        };
        Ok(changes.filter(move |change| std::future::ready(is_new(change))).boxed())
    }

    fn post(&self) -> Option<&dyn Post> {
        Some(self)
    }
}

impl EtcdStore {
    /// etcd takes one change of a key in a transaction: the first write's expectation, the last one's content.
    fn fold<'a>(&self, writes: &'a [Write]) -> (Vec<&'a Write>, Vec<RequestOp>, Option<StoreError>) {
        let mut at = HashMap::<&Key, usize>::new();
        let mut firsts: Vec<&Write> = Vec::new();
        let mut ops = Vec::new();
        for write in writes {
            let key = self.key(&write.key);
            let change = match &write.value {
                Some(value) => Request::Put(PutRequest { key, value: value.to_vec(), lease: 0 }),
                None => Request::Delete(DeleteRequest { key }),
            };
            let Some(&before) = at.get(&write.key) else {
                at.insert(&write.key, firsts.len());
                firsts.push(write);
                ops.push(op(change));
                continue;
            };
            let is_there = matches!(&ops[before], RequestOp { request: Some(Request::Put(_)) });
            if is_there || write.expected.is_some() {
                let (key, expected) = (write.key.clone(), write.expected);
                return (firsts, ops, Some(StoreError::Conflict { key, expected, found: None }));
            }
            ops[before] = op(change);
        }
        (firsts, ops, None)
    }
}

impl Drop for EtcdStore {
    fn drop(&mut self) {
        self.feeder.abort();
    }
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn look(key: Vec<u8>) -> RequestOp {
    op(Request::Range(RangeRequest { key, ..RangeRequest::default() }))
}

fn looked(txn: &TxnResponse) -> impl Iterator<Item = Option<&KeyValue>> {
    txn.responses.iter().map(|answer| match &answer.response {
        Some(Response::Range(range)) => range.kvs.first(),
        _ => None,
    })
}

fn is_at(key: Vec<u8>, revision: i64) -> Compare {
    Compare { target: MOD, key, value: Some(Target::ModRevision(revision)) }
}

/// When a transaction was done whose answer got lost, if what is found now is what it wanted: nobody else has the
/// lease, and the holder changes a record by one commit at a time.
fn own_work(wanted: &[RequestOp], found: &[Option<&KeyValue>], now: Revision) -> Option<Revision> {
    let is_done = |(op, kv): (&RequestOp, &Option<&KeyValue>)| match &op.request {
        Some(Request::Put(put)) => kv.is_some_and(|kv| kv.value == put.value),
        _ => kv.is_none(),
    };
    let is_own = !wanted.is_empty() && wanted.iter().zip(found).all(is_done);
    let last = found.iter().flatten().map(|kv| number(kv.mod_revision)).max();
    is_own.then(|| last.map_or(now, Revision))
}

fn conflict(firsts: &[&Write], found: &[Option<&KeyValue>]) -> StoreError {
    let mut all =
        firsts.iter().zip(found).map(|(write, kv)| (write, kv.map(|kv| Revision(number(kv.mod_revision)))));
    match all.find(|(write, found)| *found != write.expected) {
        Some((write, found)) => {
            StoreError::Conflict { key: write.key.clone(), expected: write.expected, found }
        }
        None => unexpected("commit", "a transaction was refused without a reason"),
    }
}

fn held(by: &KeyValue) -> StoreError {
    StoreError::Held { holder: String::from_utf8_lossy(&by.value).into_owned() }
}

fn held_by(writer: Option<KeyValue>, presented: Fence, now: Revision) -> Result<KeyValue, StoreError> {
    match writer {
        Some(writer) if number(writer.mod_revision) == presented.0 => Ok(writer),
        other => {
            let current = Fence(other.map_or(now.0, |kv| number(kv.mod_revision)));
            Err(StoreError::Fenced { presented, current })
        }
    }
}

fn entry(kind: Kind, root: &[u8], kv: &KeyValue) -> Result<Entry, StoreError> {
    let id = kv.key.strip_prefix(root).and_then(|id| std::str::from_utf8(id).ok());
    let id = id.ok_or_else(|| StoreError::Damaged {
        place: "etcd".to_owned(),
        problem: format!("the key {} is not ours", String::from_utf8_lossy(&kv.key)),
        advice: "choose another prefix".to_owned(),
    })?;
    let value = kv.value.as_slice().into();
    Ok(Entry { key: Key::new(kind, id), value, revision: Revision(number(kv.mod_revision)) })
}

/// The first key behind all that begin with this one, which ends with a slash.
fn end_of(root: &[u8]) -> Vec<u8> {
    let mut end = root.to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

fn revision(header: Option<&wire::Header>) -> Revision {
    Revision(header.map_or(0, |header| number(header.revision)))
}

fn number(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or_default()
}

fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn unexpected(operation: &'static str, problem: &'static str) -> StoreError {
    StoreError::Unavailable { operation, source: problem.into() }
}
