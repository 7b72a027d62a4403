use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use model::{
    AccessMode, Handle, InstanceId, Labels, Layout, Owner, VolumeId, VolumeOptions, VolumeSpec, VolumeState,
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
            self.take_up(&request.volume, &backend, handle, &found, origin, request).await?;
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
        if let Some(class) = &request.class
            && self.writer.catalogue().class(class).is_none()
        {
            return Err(Error::not_found("class", class));
        }
        match &found.owner {
            Owner::Nobody => Ok(found),
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
        request: &ImportRequest,
    ) -> Result<()> {
        let claim = Lockable::Handle(backend.name.clone(), handle.clone());
        let _claim = self.locks.exclusive(claim, Verb::Import).await;
        if let Some(other) = self.writer.catalogue().volume_by_handle(&backend.name, &handle) {
            let message = format!("`{handle}` on backend `{}` is volume `{}`", backend.name, other.id);
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let shareable = backend.pool(&found.pool).is_some_and(|pool| pool.shared.contains(&found.layout));
        let access = match found.layout {
            Layout::File if shareable => AccessMode::ReadWriteMany,
            Layout::File | Layout::Block => AccessMode::ReadWriteOnce,
        };
        let found_as = VolumeSpec {
            size: found.size,
            layout: found.layout,
            filesystem: None,
            provisioning: found.provisioning,
            access,
            class: None,
            source: None,
            options: VolumeOptions::new(),
            mount_options: Vec::new(),
            labels: Labels::new(),
        };
        // What the backend kept of it holds, but for what may have changed since.
        let mut spec = found.made_as.as_deref().cloned().unwrap_or(found_as);
        spec.size = found.size;
        spec.source = None;
        spec.class = request.class.clone().or(spec.class);
        spec.labels.extend(request.labels.clone());
        let record = VolumeRecord {
            format: FORMAT,
            id: volume.clone(),
            backend: backend.name.clone(),
            pool: found.pool.clone(),
            handle,
            spec,
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
        let request = ImportRequest {
            volume: id.clone(),
            backend: backend.name.clone(),
            original: found.handle.to_string(),
            class: None,
            labels: Labels::new(),
        };
        self.take_up(id, backend, found.handle.clone(), found, Origin::Adopted, &request).await?;
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
            }))
        }));
        if edits.is_empty() { Ok(()) } else { self.writer.commit(edits).await }
    }
}

/// What can be done about a volume that carries another instance's tag.
pub(crate) fn another_instances(instance: &InstanceId) -> String {
    format!("if that instance is gone for good, `leister run --instance-id {instance}` takes its place")
}
