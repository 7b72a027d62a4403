//! Volumes as the engine knows them: made, removed, shown.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::VolumeId;
use node::{Mounts, on_node};
use orchestrator::{
    Catalogue, CreateRequest, Error, ErrorKind, Request, Result, SnapshotStatus, VolumeRecord, VolumeStatus,
};

use crate::Deadlines;
use crate::protocol::{Snapshot, Status, Volume};

/// # Behavior
/// The same wish for a volume that exists is answered with it.
pub(crate) async fn create(mounts: &Mounts, mut request: CreateRequest, limit: Duration) -> Result<()> {
    let topology = &mounts.orchestrator.settings().node.topology;
    if !topology.is_empty() {
        request.topologies = vec![topology.clone()];
    }
    let created = mounts.orchestrator.run_patiently(Request::Create(Box::new(request)), limit).await;
    created.map(drop).map_err(|error| match mounts.orchestrator.is_ready() {
        Err(waiting) if error.kind == ErrorKind::Unreachable => {
            error.hint(format!("{waiting}; try again in a moment"))
        }
        _ => error,
    })
}

/// # Errors
/// `InUse` while a container of this node has it mounted, and for all that the orchestrator objects to.
pub(crate) async fn remove(mounts: &Mounts, volume: &VolumeId, limit: Duration) -> Result<()> {
    let held = mounts.hold(volume).await;
    if mounts.orchestrator.find(volume, limit).await?.is_none() {
        return Err(Error::not_found("volume", volume));
    }
    let references = mounts.host.references(volume).map_err(|e| on_node("look at", volume, e))?;
    if !references.is_empty() {
        let users = match references.len() {
            1 => "1 container".to_owned(),
            n => format!("{n} containers"),
        };
        let problem = format!("volume `{volume}` is mounted by {users} on node `{}`", mounts.node);
        return Err(Error::new(ErrorKind::InUse, problem).hint("stop them first"));
    }
    // A crash between the last unmount and its end may have left something.
    mounts.settle(&held).await?;
    let request = Request::Delete { volume: volume.clone(), with_snapshots: false };
    mounts.orchestrator.run_patiently(request, limit).await?;
    if let Err(error) = mounts.host.forget(volume).await {
        let error = on_node("clean up after", volume, error);
        tracing::warn!(error = error.sentence(), "the volume is gone, but not all of it on this node");
    }
    Ok(())
}

/// # Errors
/// `NotFound` also for a volume that is not there yet, or not any more: the engine then asks for it to be
/// created, which waits for the one and for the other.
///
/// # Behavior
/// Whether it is there is found out however long that takes, up to where the engine gives up: of a volume that a driver
/// says nothing of, the engine makes one of its own on this node, and a container writes there.
pub(crate) async fn get(mounts: &Mounts, volume: &VolumeId, deadlines: Deadlines) -> Result<Volume> {
    let found = mounts.orchestrator.find(volume, deadlines.short).await?;
    let Some(record) = found.filter(|record| is_there(record)) else {
        return Err(Error::not_found("volume", volume));
    };
    let catalogue = mounts.orchestrator.catalogue();
    let references = mounts.host.references(volume).unwrap_or_default();
    let used = match tokio::time::timeout(deadlines.glance, mounts.orchestrator.observe(volume)).await {
        Ok(Ok(Some(state))) => state.used,
        _ => None,
    };
    let spec = &record.spec;
    let status = Status {
        size: spec.size.to_string(),
        used: used.map(|used| used.to_string()),
        backend: record.backend.to_string(),
        pool: record.pool.to_string(),
        class: spec.class.as_ref().map(ToString::to_string),
        layout: spec.layout.as_str(),
        file_system: spec.filesystem.map(model::Filesystem::as_str),
        provisioning_type: spec.provisioning.as_str(),
        access_mode: spec.access.as_str(),
        state: record.status().as_str(),
        mounts: references.len(),
        labels: spec.labels.clone(),
        trouble: record.trouble.clone(),
        snapshots: snapshots(&catalogue, volume),
    };
    let mountpoint = references.first().map(|reference| mounts.host.path(volume, reference));
    Ok(shown(&record, mountpoint, Some(status)))
}

/// All volumes, without asking anybody but backends that other hosts share.
pub(crate) async fn list(mounts: &Mounts, glance: Duration) -> Result<Vec<Volume>> {
    let mounted = mounts.host.mounted().map_err(|e| {
        Error::new(ErrorKind::Internal, "the mount table of this node could not be read").because(e)
    })?;
    let elsewhere = mounts.orchestrator.elsewhere(glance).await;
    let catalogue = mounts.orchestrator.catalogue();
    let there = catalogue.volumes().filter(|r| is_there(r) && !elsewhere.deleted.contains(&r.id));
    let mut volumes: Vec<Volume> = there
        .map(|record| {
            let reference = mounted.get(&record.id).and_then(|references| references.first());
            shown(record, reference.map(|reference| mounts.host.path(&record.id, reference)), None)
        })
        .collect();
    volumes.extend(elsewhere.unknown.into_iter().map(|(id, created)| Volume {
        name: id.to_string(),
        mountpoint: PathBuf::new(),
        created_at: created.map(|created| created.to_string()).unwrap_or_default(),
        status: None,
    }));
    Ok(volumes)
}

/// Where a volume is mounted for whoever; empty if it is not.
pub(crate) async fn path(mounts: &Mounts, volume: &VolumeId, limit: Duration) -> Result<PathBuf> {
    let references = mounts.host.references(volume).map_err(|e| on_node("look at", volume, e))?;
    if references.is_empty() && mounts.orchestrator.find(volume, limit).await?.is_none() {
        return Err(Error::not_found("volume", volume));
    }
    Ok(references.first().map(|reference| mounts.host.path(volume, reference)).unwrap_or_default())
}

fn is_there(record: &VolumeRecord) -> bool {
    match record.status() {
        VolumeStatus::Ready | VolumeStatus::Restoring | VolumeStatus::Missing => true,
        VolumeStatus::Creating | VolumeStatus::Deleting => false,
    }
}

fn shown(record: &Arc<VolumeRecord>, mountpoint: Option<PathBuf>, status: Option<Status>) -> Volume {
    Volume {
        name: record.id.to_string(),
        mountpoint: mountpoint.unwrap_or_default(),
        created_at: record.created.to_string(),
        status,
    }
}

fn snapshots(catalogue: &Catalogue, volume: &VolumeId) -> Vec<Snapshot> {
    let there = catalogue.snapshots_of(volume).filter(|s| s.status() == SnapshotStatus::Ready);
    there.map(|s| Snapshot { name: s.name.to_string(), created: s.created.to_string() }).collect()
}
