//! The one way from an edit to the store and, once it is durable there, to the catalogue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::{Entry, Key, Kind, Lease, Store, StoreError, Write};

use crate::catalogue::{Catalogue, Edit};
use crate::{Error, ErrorKind, Result};

#[derive(Debug)]
pub(crate) struct Writer {
    store: Arc<dyn Store>,
    lease: Lease,
    catalogue: ArcSwap<Catalogue>,
    lost: AtomicBool,
}

const VOLUME: Kind = "volume";
const SNAPSHOT: Kind = "snapshot";
const CLASS: Kind = "class";
const NODE: Kind = "node";
const BACKEND: Kind = "backend";

impl Writer {
    /// Becomes the writer and reads everything.
    pub(crate) async fn open(store: Arc<dyn Store>, holder: &str) -> Result<Writer> {
        let lease = store.acquire(holder).await?;
        let mut catalogue = Catalogue::default();
        for kind in [VOLUME, SNAPSHOT, CLASS, NODE, BACKEND] {
            for entry in store.list(kind).await? {
                let edit = decode(&entry)?;
                catalogue.apply(&edit, entry.revision);
            }
        }
        Ok(Writer { store, lease, catalogue: ArcSwap::from_pointee(catalogue), lost: AtomicBool::new(false) })
    }

    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.load_full()
    }

    /// Writes edits durably, all or none, then shows them.
    ///
    /// # Errors
    /// After an error nothing is shown that the store does not have: a record somebody else wrote is read
    /// again, so that the next try starts from what is true.
    pub(crate) async fn commit(&self, edits: Vec<Edit>) -> Result<()> {
        self.write(edits, true).await
    }

    /// The same without waiting for the disk: for what the backend shows again after a loss of power.
    pub(crate) async fn commit_ordered(&self, edits: Vec<Edit>) -> Result<()> {
        self.write(edits, false).await
    }

    async fn write(&self, edits: Vec<Edit>, durable: bool) -> Result<()> {
        if self.is_lost() {
            return Err(self.lost());
        }
        let seen = self.catalogue.load();
        let writes = edits
            .iter()
            .map(|edit| Ok(Write { key: key(edit), expected: seen.revision(edit), value: encode(edit)? }));
        let writes = writes.collect::<Result<Vec<_>>>()?;
        drop(seen);
        let fence = self.lease.fence;
        let written = if durable {
            self.store.commit(fence, writes).await
        } else {
            self.store.commit_ordered(fence, writes).await
        };
        match written {
            Ok(revision) => {
                self.catalogue.rcu(|now| {
                    let mut next = Catalogue::clone(now);
                    for edit in &edits {
                        next.apply(edit, revision);
                    }
                    next
                });
                Ok(())
            }
            Err(error) => {
                match &error {
                    StoreError::Fenced { .. } => self.lost.store(true, Ordering::SeqCst),
                    StoreError::Conflict { .. } | StoreError::Unavailable { .. } => {
                        self.read_again(&edits).await
                    }
                    StoreError::Held { .. } | StoreError::Damaged { .. } | StoreError::TooLarge { .. } => {}
                }
                Err(error.into())
            }
        }
    }

    pub(crate) async fn renew(&self) {
        if let Err(StoreError::Fenced { .. }) = self.store.renew(&self.lease).await {
            self.lost.store(true, Ordering::SeqCst);
        }
    }

    pub(crate) async fn release(&self) {
        if let Err(error) = self.store.release(&self.lease).await {
            tracing::warn!(%error, "cannot release the lease");
        }
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    fn lost(&self) -> Error {
        Error::new(ErrorKind::Unreachable, "another instance has become the writer of the store")
            .hint("ask that instance, or restart this one to take over")
    }

    async fn read_again(&self, edits: &[Edit]) {
        for edit in edits {
            let key = key(edit);
            let found = match self.store.find(&key).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, %key, "cannot read a record again");
                    continue;
                }
            };
            let truth = match &found {
                Some(entry) => match decode(entry) {
                    Ok(edit) => (edit, entry.revision),
                    Err(error) => {
                        tracing::error!(error = error.sentence(), %key, "a record cannot be read");
                        continue;
                    }
                },
                None => (removal(edit), store::Revision(0)),
            };
            self.catalogue.rcu(|now| {
                let mut next = Catalogue::clone(now);
                next.apply(&truth.0, truth.1);
                next
            });
        }
    }
}

fn key(edit: &Edit) -> Key {
    match edit {
        Edit::PutVolume(record) => Key::new(VOLUME, &record.id),
        Edit::RemoveVolume(id) => Key::new(VOLUME, id),
        Edit::PutSnapshot(record) => Key::new(SNAPSHOT, format!("{}/{}", record.volume, record.name)),
        Edit::RemoveSnapshot(volume, name) => Key::new(SNAPSHOT, format!("{volume}/{name}")),
        Edit::PutClass(class) => Key::new(CLASS, &class.name),
        Edit::RemoveClass(name) => Key::new(CLASS, name),
        Edit::PutNode(node) => Key::new(NODE, &node.identity.name),
        Edit::RemoveNode(name) => Key::new(NODE, name),
        Edit::PutBackend(backend) => Key::new(BACKEND, &backend.name),
        Edit::RemoveBackend(name) => Key::new(BACKEND, name),
    }
}

fn removal(edit: &Edit) -> Edit {
    match edit {
        Edit::PutVolume(record) => Edit::RemoveVolume(record.id.clone()),
        Edit::PutSnapshot(record) => Edit::RemoveSnapshot(record.volume.clone(), record.name.clone()),
        Edit::PutClass(class) => Edit::RemoveClass(class.name.clone()),
        Edit::PutNode(node) => Edit::RemoveNode(node.identity.name.clone()),
        Edit::PutBackend(backend) => Edit::RemoveBackend(backend.name.clone()),
        Edit::RemoveVolume(_)
        | Edit::RemoveSnapshot(..)
        | Edit::RemoveClass(_)
        | Edit::RemoveNode(_)
        | Edit::RemoveBackend(_) => edit.clone(),
    }
}

fn encode(edit: &Edit) -> Result<Option<Arc<[u8]>>> {
    fn json<T: Serialize>(value: &T) -> Result<Option<Arc<[u8]>>> {
        let bytes = serde_json::to_vec(value)
            .map_err(|e| Error::new(ErrorKind::Internal, "a record cannot be written as JSON").because(e))?;
        Ok(Some(bytes.into()))
    }
    match edit {
        Edit::PutVolume(record) => json(record),
        Edit::PutSnapshot(record) => json(record),
        Edit::PutClass(class) => json(class),
        Edit::PutNode(node) => json(node),
        Edit::PutBackend(backend) => json(backend),
        Edit::RemoveVolume(_)
        | Edit::RemoveSnapshot(..)
        | Edit::RemoveClass(_)
        | Edit::RemoveNode(_)
        | Edit::RemoveBackend(_) => Ok(None),
    }
}

/// # Errors
/// A record of a newer format, or one that is not a record, stops the start: guessing could lose data.
fn decode(entry: &Entry) -> Result<Edit> {
    fn json<T: DeserializeOwned>(entry: &Entry) -> Result<Arc<T>> {
        let value: serde_json::Value = serde_json::from_slice(&entry.value).map_err(|e| damaged(entry, e))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(1);
        if format > u64::from(crate::record::FORMAT) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{} has format {format}; this version reads up to {}",
                    entry.key,
                    crate::record::FORMAT
                ),
            )
            .hint("start the newer version that wrote it"));
        }
        serde_json::from_value(value).map(Arc::new).map_err(|e| damaged(entry, e))
    }
    Ok(match entry.key.kind {
        VOLUME => Edit::PutVolume(json(entry)?),
        SNAPSHOT => Edit::PutSnapshot(json(entry)?),
        CLASS => Edit::PutClass(json(entry)?),
        NODE => Edit::PutNode(json(entry)?),
        _ => Edit::PutBackend(json(entry)?),
    })
}

fn damaged(entry: &Entry, error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("{} in the store cannot be read", entry.key))
        .hint("restore the store from a backup, or start with a new one and `leister adopt --all`")
        .because(error)
}
