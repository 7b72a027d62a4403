use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use model::{
    AccessMode, Class, Handle, InstanceId, Labels, Layout, Owner, VolumeId, VolumeOptions, VolumeSpec,
    VolumeState,
};

use crate::admission::Queue;
use crate::backend::Backend;
use crate::catalogue::Edit;
use crate::locks::Lockable;
use crate::operation::Verb;
use crate::orchestrator::Inner;
use crate::record::{FORMAT, Goal, Origin, VolumeRecord};
use crate::request::{Answer, ImportRequest};
use crate::running::Operation;
use crate::{Error, ErrorKind, Result};

impl Inner {
    pub(crate) async fn import(&self, request: &ImportRequest, operation: &Operation) -> Result<Answer> {
        if let Some(record) = self.writer.catalogue().volume(&request.volume) {
            let same = record.origin == Origin::Imported { original: request.original.clone() }
                && record.backend == request.backend;
            if !same || record.goal == Goal::Gone {
                let message = format!("volume `{}` exists already", request.volume);
                return Err(Error::new(ErrorKind::Conflict, message).hint("choose another name"));
            }
        } else {
            let found = self.importable(request).await?;
            let backend = self.backends.backend(&request.backend)?;
            let handle = backend.driver(self.patience(Verb::Import)).await?.handle(&request.volume)?;
            let origin = Origin::Imported { original: request.original.clone() };
            self.take_up(&request.volume, &backend, handle, &found, origin).await?;
        }
        self.finish_taking(&request.volume, operation).await
    }

    /// What would be imported.
    pub(crate) async fn importable(&self, request: &ImportRequest) -> Result<VolumeState> {
        let backend = self.backends.backend(&request.backend)?;
        let driver = backend.driver(self.patience(Verb::Import)).await?;
        let import = driver.import().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, format!("backend `{}` cannot import volumes", backend.name))
        })?;
        let found = backend.call(Queue::Read, "find volume", import.find(&request.original)).await?;
        let found = found.ok_or_else(|| {
            Error::not_found("volume", format!("{}` on backend `{}", request.original, backend.name))
        })?;
        match &found.owner {
            Owner::Nobody => {
                let class = match &request.class {
                    Some(name) => {
                        let class = self.writer.catalogue().class(name);
                        Some(class.ok_or_else(|| Error::not_found("class", name))?)
                    }
                    None => None,
                };
                let spec = wished(request, class.as_deref(), as_seen(&backend, &found))?;
                Ok(VolumeState { made_as: Some(Box::new(spec)), ..found })
            }
            Owner::Ours => {
                let message =
                    format!("`{}` on backend `{}` carries our tag already", request.original, backend.name);
                Err(Error::new(ErrorKind::Conflict, message).hint("take it up with `leister adopt`"))
            }
            Owner::Other(instance) => {
                let message = format!("`{}` belongs to instance `{instance}`", request.original);
                Err(Error::new(ErrorKind::Conflict, message).hint(another_instances(instance)))
            }
        }
    }

    async fn take_up(
        &self,
        volume: &VolumeId,
        backend: &Arc<Backend>,
        handle: Handle,
        found: &VolumeState,
        origin: Origin,
    ) -> Result<()> {
        let claim = Lockable::Handle(backend.name.clone(), handle.clone());
        let _claim = self.locks.exclusive(claim, Verb::Import).await;
        if let Some(other) = self.writer.catalogue().volume_by_handle(&backend.name, &handle) {
            let message = format!("`{handle}` on backend `{}` is volume `{}`", backend.name, other.id);
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let record = VolumeRecord {
            format: FORMAT,
            id: volume.clone(),
            backend: backend.name.clone(),
            pool: found.pool.clone(),
            handle,
            spec: as_seen(backend, found),
            goal: Goal::Exist,
            settled: false,
            origin: origin.clone(),
            published: BTreeMap::new(),
            fenced: BTreeMap::new(),
            made: None,
            // It may hold data, unless its backend knows that it was never put to use: never to be formatted.
            staged: !(origin == Origin::Adopted && found.staged == Some(false)),
            growing: None,
            changing: VolumeOptions::new(),
            restoring: None,
            trouble: None,
            missing: false,
            created: found.created.unwrap_or_else(Timestamp::now),
        };
        self.writer.commit(vec![Edit::PutVolume(Arc::new(record))]).await
    }

    async fn finish_taking(&self, id: &VolumeId, operation: &Operation) -> Result<Answer> {
        match self.drive(id, operation).await {
            Ok(driven) => driven.record.map(Answer::Volume).ok_or_else(|| Error::not_found("volume", id)),
            Err(error) => {
                if self.writer.catalogue().volume(id).is_some_and(|record| !record.settled) {
                    self.undo(id, operation).await;
                }
                Err(error)
            }
        }
    }

    /// Takes up a volume of ours that has no record, with its snapshots.
    pub(crate) async fn adopt(
        &self,
        id: &VolumeId,
        backend: &model::BackendName,
        operation: &Operation,
    ) -> Result<Answer> {
        if let Some(record) = self.writer.catalogue().volume(id) {
            if record.backend != *backend {
                let message = format!("volume `{id}` exists on backend `{}`", record.backend);
                return Err(Error::new(ErrorKind::Conflict, message));
            }
        } else {
            let backend = self.backends.backend(backend)?;
            let driver = backend.driver(self.patience(Verb::Adopt)).await?;
            let listed = backend.call(Queue::Read, "list volumes", driver.list()).await?;
            let found =
                listed.into_iter().find(|seen| seen.volume.as_ref() == Some(id)).ok_or_else(|| {
                    Error::not_found("volume", format!("{id}` with our tag on backend `{}", backend.name))
                        .hint("see `leister adopt --all --dry-run`; `leister import` takes what has no tag")
                })?;
            return self.adopt_seen(id, &backend, &found, operation).await;
        }
        let answer = self.finish_taking(id, operation).await?;
        self.adopt_snapshots(id).await?;
        Ok(answer)
    }

    pub(super) async fn adopt_seen(
        &self,
        id: &VolumeId,
        backend: &Arc<Backend>,
        found: &VolumeState,
        operation: &Operation,
    ) -> Result<Answer> {
        self.take_up(id, backend, found.handle.clone(), found, Origin::Adopted).await?;
        let answer = self.finish_taking(id, operation).await?;
        self.adopt_snapshots(id).await?;
        Ok(answer)
    }

    /// Takes up the snapshots that have no record; where hosts share the backend, also drops the records of those that
    /// another one has deleted.
    pub(super) async fn adopt_snapshots(&self, id: &VolumeId) -> Result<()> {
        let record = self.volume(id)?;
        let backend = self.backends.backend(&record.backend)?;
        let driver = backend.driver(self.patience(Verb::Adopt)).await?;
        let Some(snapshots) = driver.snapshots() else { return Ok(()) };
        let listed =
            backend.call(Queue::Read, "list snapshots", snapshots.list_snapshots(&record.handle)).await?;
        let catalogue = self.writer.catalogue();
        let mut edits = Vec::new();
        if self.own().is_some() {
            let is_gone = |s: &crate::SnapshotRecord| {
                !s.is_unfinished() && !listed.iter().any(|seen| seen.name == s.name)
            };
            let gone = catalogue.snapshots_of(id).filter(|snapshot| is_gone(snapshot));
            edits.extend(gone.map(|snapshot| Edit::RemoveSnapshot(id.clone(), snapshot.name.clone())));
        }
        let unknown = listed.into_iter().filter(|seen| catalogue.snapshot(id, &seen.name).is_none());
        edits.extend(unknown.map(|seen| {
            Edit::PutSnapshot(Arc::new(crate::SnapshotRecord {
                format: FORMAT,
                volume: id.clone(),
                name: seen.name,
                goal: Goal::Exist,
                settled: true,
                size: seen.size,
                staged: true,
                created: seen.created,
                group: None,
            }))
        }));
        if edits.is_empty() { Ok(()) } else { self.writer.commit(edits).await }
    }
}

/// What the backend kept of it, but for what may have changed since.
fn as_seen(backend: &Backend, found: &VolumeState) -> VolumeSpec {
    let shareable = backend.pool(&found.pool).is_some_and(|pool| pool.shared.contains(&found.layout));
    let as_found = || VolumeSpec {
        size: found.size,
        layout: found.layout,
        filesystem: None,
        provisioning: found.provisioning,
        access: match found.layout {
            Layout::File if shareable => AccessMode::ReadWriteMany,
            Layout::File | Layout::Block => AccessMode::ReadWriteOnce,
        },
        class: None,
        source: None,
        options: VolumeOptions::new(),
        mount_options: Vec::new(),
        labels: Labels::new(),
    };
    let spec = found.made_as.as_deref().cloned().unwrap_or_else(as_found);
    VolumeSpec { size: found.size, source: None, ..spec }
}

/// What it shall be from now on: as its backend says, and where that is silent as it was asked for.
fn wished(request: &ImportRequest, class: Option<&Class>, seen: VolumeSpec) -> Result<VolumeSpec> {
    let original = &request.original;
    let invalid = |message: String| Error::new(ErrorKind::Invalid, message).hint("leave `filesystem` out");
    let filesystem = match (seen.layout, request.filesystem, seen.filesystem) {
        (Layout::File, Some(asked), _) => {
            let message =
                format!("filesystem is `{asked}`, but `{original}` is files, without one of its own");
            return Err(invalid(message));
        }
        (Layout::Block, Some(asked), Some(said)) if asked != said => {
            let message = format!("filesystem is `{asked}`, but `{original}` is said to hold `{said}`");
            return Err(invalid(message));
        }
        (Layout::Block, asked, None) => {
            asked.or_else(|| class.and_then(|class| class.wishes().ok()?.filesystem))
        }
        (_, _, said) => said,
    };
    let mut labels = seen.labels;
    labels.extend(request.labels.clone());
    Ok(VolumeSpec { filesystem, labels, class: request.class.clone().or(seen.class), ..seen })
}

/// What can be done about a volume that carries another instance's tag.
pub(crate) fn another_instances(instance: &InstanceId) -> String {
    format!("if that instance is gone for good, `leister run --instance-id {instance}` takes its place")
}

#[cfg(test)]
mod tests {
    use model::{Bytes, ClassName, Filesystem, Provisioning};

    use super::*;

    #[test]
    fn what_lies_on_a_volume_is_said_by_its_backend_then_by_who_asks_then_by_the_class() {
        use Filesystem::{Ext4, Xfs};
        let name = ClassName::new("fast").unwrap();
        let parameters = BTreeMap::from([("fsType".to_owned(), "xfs".to_owned())]);
        let class = Class { name, parameters, mount_options: Vec::new() };
        for (layout, said, asked, of_class, expected) in [
            (Layout::Block, None, None, false, Ok(None)),
            (Layout::Block, None, None, true, Ok(Some(Xfs))),
            (Layout::Block, None, Some(Ext4), true, Ok(Some(Ext4))),
            (Layout::Block, Some(Ext4), None, true, Ok(Some(Ext4))),
            (Layout::Block, Some(Ext4), Some(Ext4), false, Ok(Some(Ext4))),
            (Layout::Block, Some(Ext4), Some(Xfs), false, Err("is said to hold `ext4`")),
            (Layout::File, None, None, true, Ok(None)),
            (Layout::File, None, Some(Ext4), false, Err("is files")),
        ] {
            let seen = VolumeSpec {
                size: Bytes::gib(1),
                layout,
                filesystem: said,
                provisioning: Provisioning::Thin,
                access: AccessMode::ReadWriteOnce,
                class: None,
                source: None,
                options: VolumeOptions::new(),
                mount_options: Vec::new(),
                labels: Labels::from([("tier".to_owned(), "gold".to_owned())]),
            };
            let request = ImportRequest {
                volume: VolumeId::new("v").unwrap(),
                backend: model::BackendName::new("array").unwrap(),
                original: "old".to_owned(),
                class: None,
                filesystem: asked,
                labels: Labels::from([("own".to_owned(), "yes".to_owned())]),
            };
            match (wished(&request, of_class.then_some(&class), seen), expected) {
                (Ok(spec), Ok(filesystem)) => {
                    assert_eq!((spec.filesystem, spec.labels.len()), (filesystem, 2))
                }
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
                (seen, _) => panic!("{layout} {said:?} {asked:?}: {seen:?}"),
            }
        }
    }
}
