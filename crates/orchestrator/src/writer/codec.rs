//! Records as the store keeps them.

use std::sync::Arc;

use model::{BackendName, ClassName, NodeName, SnapshotName, VolumeId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::{Entry, Key, Kind};

use crate::catalogue::Edit;
use crate::{Error, ErrorKind, Result};

pub(super) const VOLUME: Kind = "volume";
pub(super) const SNAPSHOT: Kind = "snapshot";
pub(super) const CLASS: Kind = "class";
pub(super) const NODE: Kind = "node";
pub(super) const BACKEND: Kind = "backend";
pub(super) const KINDS: [Kind; 5] = [VOLUME, SNAPSHOT, CLASS, NODE, BACKEND];

pub(super) fn key(edit: &Edit) -> Key {
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

pub(super) fn removal(edit: &Edit) -> Edit {
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

pub(super) fn encode(edit: &Edit) -> Result<Option<Arc<[u8]>>> {
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
pub(super) fn decode(entry: &Entry) -> Result<Edit> {
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

/// That of a record that the store has no more.
pub(super) fn removal_of(key: &Key) -> Option<Edit> {
    let id = &key.id;
    match key.kind {
        VOLUME => VolumeId::new(id).ok().map(Edit::RemoveVolume),
        SNAPSHOT => {
            let (volume, name) = id.rsplit_once('/')?;
            Some(Edit::RemoveSnapshot(VolumeId::new(volume).ok()?, SnapshotName::new(name).ok()?))
        }
        CLASS => ClassName::new(id).ok().map(Edit::RemoveClass),
        NODE => NodeName::new(id).ok().map(Edit::RemoveNode),
        BACKEND => BackendName::new(id).ok().map(Edit::RemoveBackend),
        _ => None,
    }
}
