//! A store in a Kubernetes cluster: records as custom resources of one namespace, which several processes share.

mod client;
mod connect;
mod definitions;
mod feeder;
mod intent;
mod lease;
mod object;
mod own;
mod policy;
mod post;
mod read;
mod sealed;
mod session;
mod write;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::time::Instant;

use self::client::{Call, Client, Failed, unusable};
pub use self::connect::kubernetes_client;
pub use self::definitions::{Column, Definition, definitions};
use self::feeder::Feeders;
use self::lease::Ballot;
use self::object::{Object, name_of, not_ours};
use self::own::Own;
use self::session::Session;
use self::write::{Fold, fold};
use crate::{
    ANSWER, Change, Entry, Fence, Key, Kind, LETTER, Lease, OPENED, Post, Revision, Store, StoreError, Write,
};

const GROUP: &str = "leister.io";
const COMMITS: &str = "commits";
const LETTERS: &str = "letters";
const SETTINGS: &str = "settings";
/// The Lease of the writer.
const WRITER: &str = "leister-writer";
/// Where the records are.
#[derive(Clone, Debug)]
pub struct KubernetesConfig {
    /// How to reach the cluster; `None`: as a pod of it does.
    pub kubeconfig: Option<PathBuf>,
    /// All records and Leases are in it; `None`: the pod's own, or that of the kubeconfig.
    pub namespace: Option<String>,
    /// Whole seconds that a lease lasts without renewal.
    pub lasts: Duration,
    pub kinds: Vec<Definition>,
}

/// Records as custom resources in a namespace.
///
/// # Behavior
/// A record is one object; its revision is the object's `resourceVersion`, which is compared with each change. A
/// commit of one write is one request; a deletion is two: the object is marked, which is the commit, and removed.
///
/// A commit of several writes is kept as one object first, a `Commit` with all of them: with that it has happened. Then
/// the records are written, and the `Commit` removed. In this process nobody reads or writes meanwhile, and all its
/// records have the number of the `Commit`. Another process may see a part of it for that moment. Whoever acquires the
/// lease does what is left of such commits first.
///
/// What is read is `record`, the exact bytes; of kinds that are private they are in a Secret that `record` names and the
/// object owns. `spec` shows them to people where they are a JSON object; one that
/// somebody has edited is reported and never read. Objects that Leister has not written are reported and left alone.
///
/// The lease is a Lease of the cluster, and its transitions are the fencing number. Whether its holder is dead is told
/// by how long it has not changed before our eyes. Each write carries the number of its writer, and is refused:
/// 1. by this process, when the lease is over by its own clock; what was sent is given up before it is;
/// 2. by the apiserver, which does not begin what comes later than its deadline;
/// 3. by the apiserver, by a policy that compares the number with the Lease. Who acquires waits until the apiserver that
///    it speaks to has heard of the new number.
///
/// So a late write is done only if a process stops between the look at its clock and the request, and the request meets
/// another apiserver which has not heard of the Lease for as long as that lasted; or if an apiserver stops
/// between its policy and its etcd for longer than a lease. Even then it changes only what is as the writer saw it last.
///
/// A request whose answer is lost is sent again, and knows its own work by a word that no other write has. If none is
/// answered the commit is `Unavailable`: it may have happened.
///
/// A watch is one list and one watch for each resource, begun when somebody watches. It comes back by itself, and tells
/// `Lagged` when the cluster does not know any more what happened in between.
pub struct KubernetesStore {
    inner: Arc<Inner>,
    feeders: Feeders,
    session: Arc<Session>,
}

/// What also a commit needs whose caller has left.
#[derive(Debug)]
struct Inner {
    client: Arc<Client>,
    kinds: Vec<Definition>,
    ballot: Ballot,
    /// Commits of several writes go alone.
    gate: Arc<RwLock<()>>,
    /// One of them could not be ended: nothing else happens before it is.
    unfinished: AtomicBool,
    own: Arc<Own>,
    seed: u64,
    count: AtomicU64,
    last: AtomicU64,
}

impl KubernetesStore {
    /// Connects, and looks whether the cluster knows our resources.
    ///
    /// # Errors
    /// A config that cannot be used, no answer, no rights, or a resource that the cluster does not know.
    pub async fn open(config: &KubernetesConfig) -> Result<KubernetesStore, StoreError> {
        let client = Client::open(config.kubeconfig.as_deref(), config.namespace.as_deref()).await?;
        let client = Arc::new(client);
        let own = Arc::<Own>::default();
        let inner = Arc::new(Inner {
            client: client.clone(),
            kinds: config.kinds.clone(),
            ballot: Ballot::new(WRITER.to_owned(), config.lasts),
            gate: Arc::default(),
            unfinished: AtomicBool::new(false),
            own: own.clone(),
            seed: RandomState::new().hash_one(std::process::id()),
            count: AtomicU64::new(0),
            last: AtomicU64::new(0),
        });
        for resource in config.kinds.iter().map(|kind| kind.plural).chain([COMMITS, LETTERS, SETTINGS]) {
            inner.revision_of(resource).await?;
        }
        let feeders = Feeders::new(client.clone(), config.kinds.clone(), own);
        let session = Session::new(client, inner.seed);
        Ok(KubernetesStore { inner, feeders, session })
    }

    pub fn namespace(&self) -> &str {
        &self.inner.client.namespace
    }

    /// To speak to the cluster of other things than records.
    pub fn client(&self) -> kube::Client {
        self.inner.client.kube.clone()
    }

    /// How many requests have been sent since it was opened.
    pub fn requests(&self) -> u64 {
        self.inner.client.requests()
    }

    /// The value that was kept first under a name, now and for ever: this one, or another process's.
    ///
    /// # Errors
    /// No answer.
    pub async fn keep(&self, name: &str, value: &str) -> Result<String, StoreError> {
        const OPERATION: &str = "keep a value";
        let object = name_of(name);
        let resource = format!("{SETTINGS}/{object}");
        loop {
            if let Some(found) = self.inner.client.get::<Object>(OPERATION, &resource).await? {
                let kept = found.decode().map_err(|problem| not_ours(&found, SETTINGS, &problem))?.1;
                return Ok(String::from_utf8_lossy(&kept).into_owned());
            }
            let body = json!({
                "apiVersion": format!("{GROUP}/v1"), "kind": "Setting", "metadata": { "name": object },
                "id": name, "record": { "text": value }, "spec": { "value": value },
                "written": { "fence": 0, "token": self.inner.token() },
            });
            let call = Call { body: Some(&body), ..Call::of(OPERATION, Method::POST, SETTINGS) };
            match self.inner.client.once::<Value>(&call).await {
                Ok(_) => return Ok(value.to_owned()),
                // Somebody was faster, or it was us and the answer is lost.
                Err(Failed::Refused { code: 409, .. }) => {}
                Err(failed) => return Err(failed.into_error(OPERATION)),
            }
        }
    }
}

#[async_trait]
impl Store for KubernetesStore {
    async fn acquire(&self, holder: &str) -> Result<Lease, StoreError> {
        let lease = self.inner.ballot.acquire(&self.inner.client, holder).await?;
        let ready = async {
            self.inner.until_fenced(lease.fence).await?;
            let _alone = self.inner.gate.clone().write_owned().await;
            self.inner.finish(lease.fence).await?;
            self.inner.seal_all(lease.fence).await
        };
        match ready.await {
            Ok(()) => Ok(lease),
            Err(error) => {
                if let Err(error) = self.release(&lease).await {
                    tracing::debug!(%error, "a lease is left to expire");
                }
                Err(error)
            }
        }
    }

    async fn renew(&self, lease: &Lease) -> Result<(), StoreError> {
        self.inner.ballot.renew(&self.inner.client, lease).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.inner.ballot.release(&self.inner.client, lease).await
    }

    async fn list(&self, kind: Kind) -> Result<Vec<Entry>, StoreError> {
        if is_post(kind) {
            return self.letters(kind).await;
        }
        let Some(definition) = self.inner.definition(kind) else { return Ok(Vec::new()) };
        let _quiet = self.inner.quiet().await?;
        let started = Instant::now();
        let objects: Vec<Object> = self.inner.list(definition.plural).await?;
        let arrived = Instant::now();
        let mut entries = Vec::with_capacity(objects.len());
        for object in objects {
            if object.gone {
                self.inner.sweep(definition.plural, &object).await;
            } else if let Some(object) = self.inner.client.opened(definition.plural, object).await? {
                entries.extend(self.inner.own.entry(definition, &object)?);
            }
        }
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        tracing::debug!(
            kind,
            count = entries.len(),
            arrived_in = ?(arrived - started),
            read_in = ?arrived.elapsed(),
            "records were listed"
        );
        Ok(entries)
    }

    async fn find(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        if is_post(key.kind) {
            return self.letter(key).await;
        }
        let Some(definition) = self.inner.definition(key.kind) else { return Ok(None) };
        let _quiet = self.inner.quiet().await?;
        let found = self.inner.look(definition.plural, &name_of(&key.id)).await?;
        let Some(object) = found.filter(|object| !object.gone) else { return Ok(None) };
        match self.inner.client.opened(definition.plural, object).await? {
            Some(object) => self.inner.own.entry(definition, &object),
            None => Ok(None),
        }
    }

    async fn commit(&self, fence: Fence, writes: Vec<Write>) -> Result<Revision, StoreError> {
        self.inner.ballot.left(&self.inner.client, fence).await?;
        let folds = fold(writes)?;
        for fold in &folds {
            if self.inner.definition(fold.key.kind).is_none() {
                return Err(unusable(
                    format!("it has no resource for records of the kind `{}`", fold.key.kind),
                    "this is a mistake in Leister; tell its makers",
                ));
            }
        }
        let (revision, told) = match <[Fold; 1]>::try_from(folds) {
            Ok([one]) => {
                let _quiet = self.inner.quiet().await?;
                self.inner.one(fence, one).await?
            }
            Err(folds) if folds.is_empty() => return self.inner.latest().await.map(Revision),
            Err(folds) => {
                // The caller may leave; what has begun is ended.
                let alone = self.inner.alone().await?;
                let inner = self.inner.clone();
                let several = tokio::spawn(async move {
                    let _alone = alone;
                    inner.several(fence, folds).await
                });
                several
                    .await
                    .map_err(|e| StoreError::Unavailable { operation: "commit", source: e.into() })??
            }
        };
        self.inner.last.fetch_max(revision.0, Ordering::Relaxed);
        for (resource, version) in told {
            self.feeders.wait(resource, version).await;
        }
        Ok(revision)
    }

    async fn watch(&self, kind: Kind) -> Result<BoxStream<'static, Change>, StoreError> {
        let resource = match self.inner.definition(kind) {
            Some(definition) => definition.plural,
            None if is_post(kind) => LETTERS,
            None => return Ok(futures::stream::pending().boxed()),
        };
        let changes = self.feeders.watch(kind, resource).await?;
        let _quiet = self.inner.quiet().await?;
        let since = self.inner.revision_of(resource).await?;
        // The feed may be behind: what was committed before is not told.
        let is_new = move |change: &Change| match change {
            Change::Put(entry) => entry.revision.0 > since,
            Change::Deleted(_, revision) => revision.0 > since,
            Change::Lagged => true,
        };
        Ok(changes.filter(move |change| std::future::ready(is_new(change))).boxed())
    }

    fn post(&self) -> Option<&dyn Post> {
        Some(self)
    }
}

impl Inner {
    fn definition(&self, kind: Kind) -> Option<&Definition> {
        self.kinds.iter().find(|definition| definition.kind == kind)
    }

    /// A word that no other write has.
    fn token(&self) -> String {
        format!("{:016x}-{}", self.seed, self.count.fetch_add(1, Ordering::Relaxed))
    }

    async fn quiet(&self) -> Result<OwnedRwLockReadGuard<()>, StoreError> {
        loop {
            let quiet = self.gate.clone().read_owned().await;
            if !self.unfinished.load(Ordering::Acquire) {
                return Ok(quiet);
            }
            drop(quiet);
            drop(self.alone().await?);
        }
    }

    /// Alone, with nothing left half done.
    async fn alone(&self) -> Result<OwnedRwLockWriteGuard<()>, StoreError> {
        let alone = self.gate.clone().write_owned().await;
        if self.unfinished.load(Ordering::Acquire) {
            match self.ballot.fence() {
                Some(fence) => self.finish(fence).await?,
                // Whoever leads next does it.
                None => self.unfinished.store(false, Ordering::Release),
            }
        }
        Ok(alone)
    }

    async fn latest(&self) -> Result<u64, StoreError> {
        match self.last.load(Ordering::Relaxed) {
            0 => self.revision_of(COMMITS).await,
            last => Ok(last),
        }
    }
}

impl fmt::Debug for KubernetesStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesStore").field("namespace", &self.namespace()).finish_non_exhaustive()
    }
}

fn is_post(kind: Kind) -> bool {
    [LETTER, ANSWER, OPENED].contains(&kind)
}
