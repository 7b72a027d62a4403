//! Volumes and snapshots in the protocol's words.

use std::sync::Arc;

use jiff::Timestamp;
use model::{Bytes, SnapshotName, Source, VolumeId};
use orchestrator::{SnapshotRecord, SnapshotStatus, VolumeRecord, VolumeStatus};

use crate::places::Places;
use crate::wire::volume_content_source::{self, SnapshotSource, VolumeSource};
use crate::wire::{Snapshot, Volume, VolumeContentSource, VolumeGroupSnapshot};

/// Between the parts of a snapshot's id, none of which can have it.
const SEPARATOR: char = '/';

pub(crate) fn volume(record: &VolumeRecord, places: &Places) -> Volume {
    Volume {
        capacity_bytes: number(record.spec.size),
        volume_id: record.id.to_string(),
        content_source: record.spec.source.as_ref().map(source),
        accessible_topology: places.of_volume(record),
        ..Volume::default()
    }
}

pub(crate) fn snapshot(record: &SnapshotRecord) -> Snapshot {
    Snapshot {
        size_bytes: number(record.size),
        snapshot_id: snapshot_id(record),
        source_volume_id: record.volume.to_string(),
        creation_time: Some(time(record.created)),
        ready_to_use: record.status() == SnapshotStatus::Ready,
        // A group's id is its name.
        group_snapshot_id: record.group.as_ref().map(|_| record.name.to_string()).unwrap_or_default(),
        ..Snapshot::default()
    }
}

/// As ready as the least of them, and as old as the first.
pub(crate) fn group(records: &[Arc<SnapshotRecord>]) -> VolumeGroupSnapshot {
    VolumeGroupSnapshot {
        group_snapshot_id: records.first().map(|record| record.name.to_string()).unwrap_or_default(),
        snapshots: records.iter().map(|record| snapshot(record)).collect(),
        creation_time: records.iter().map(|record| record.created).min().map(time),
        ready_to_use: records.iter().all(|record| record.status() == SnapshotStatus::Ready),
    }
}

/// `volume/snapshot`.
pub(crate) fn snapshot_id(record: &SnapshotRecord) -> String {
    member_id(&record.volume, &record.name)
}

/// That of a volume's snapshot of this name.
pub(crate) fn member_id(volume: &VolumeId, name: &SnapshotName) -> String {
    format!("{volume}{SEPARATOR}{name}")
}

/// The parts of a snapshot's id; `None` for what can be no snapshot of ours.
pub(crate) fn parse_snapshot_id(id: &str) -> Option<(VolumeId, SnapshotName)> {
    let (volume, name) = id.split_once(SEPARATOR)?;
    Some((VolumeId::new(volume).ok()?, SnapshotName::new(name).ok()?))
}

/// Whether callers know of it.
pub(crate) fn is_there(record: &VolumeRecord) -> bool {
    match record.status() {
        VolumeStatus::Ready | VolumeStatus::Restoring | VolumeStatus::Missing => true,
        VolumeStatus::Creating | VolumeStatus::Deleting => false,
    }
}

/// Sizes are signed on the wire.
pub(crate) fn number(size: Bytes) -> i64 {
    i64::try_from(size.get()).unwrap_or(i64::MAX)
}

fn time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

fn source(source: &Source) -> VolumeContentSource {
    let volume = source.volume.to_string();
    let origin = match &source.snapshot {
        Some(name) => {
            let snapshot_id = format!("{volume}{SEPARATOR}{name}");
            volume_content_source::Type::Snapshot(SnapshotSource { snapshot_id })
        }
        None => volume_content_source::Type::Volume(VolumeSource { volume_id: volume }),
    };
    VolumeContentSource { r#type: Some(origin) }
}
