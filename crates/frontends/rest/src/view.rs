//! The orchestrator's values as the interface shows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{
    BackendHealth, BackendView, CapabilitiesView, ClassView, FindingView, FoundVolume, GroupView, NodeView,
    OperationState, OperationView, PoolView, Severity, SnapshotView, SourceView, VolumeView,
};
use model::{BackendName, Bytes, Class, Owner, Pool, SnapshotName, VolumeState};
use orchestrator::{Catalogue, Finding, NodeRecord, Origin, SnapshotRecord, VolumeRecord};

use crate::status;

pub(crate) fn volume(record: &VolumeRecord, catalogue: &Catalogue, used: Option<Bytes>) -> VolumeView {
    let spec = &record.spec;
    let (origin, original) = match &record.origin {
        Origin::Made => ("made", None),
        Origin::Imported { original } => ("imported", Some(original.clone())),
        Origin::Adopted => ("adopted", None),
    };
    VolumeView {
        name: record.id.to_string(),
        status: record.status().as_str().to_owned(),
        size: spec.size.get(),
        used: used.map(Bytes::get),
        class: spec.class.as_ref().map(ToString::to_string),
        backend: record.backend.to_string(),
        pool: record.pool.to_string(),
        handle: record.handle.to_string(),
        layout: spec.layout.to_string(),
        filesystem: spec.filesystem.map(|filesystem| filesystem.to_string()),
        provisioning: spec.provisioning.to_string(),
        access: spec.access.to_string(),
        source: spec.source.as_ref().map(|source| SourceView {
            volume: source.volume.to_string(),
            snapshot: source.snapshot.as_ref().map(ToString::to_string),
        }),
        options: spec.options.iter().map(|(key, value)| (key.to_string(), value.clone())).collect(),
        mount_options: spec.mount_options.clone(),
        labels: spec.labels.clone(),
        nodes: record.publications().map(ToString::to_string).collect(),
        fenced: record.fenced.keys().map(ToString::to_string).collect(),
        snapshots: catalogue.snapshots_of(&record.id).count(),
        origin: origin.to_owned(),
        original,
        trouble: record.trouble.clone(),
        created: record.created,
    }
}

pub(crate) fn found(backend: &BackendName, seen: &VolumeState) -> FoundVolume {
    FoundVolume {
        backend: backend.to_string(),
        pool: seen.pool.to_string(),
        handle: seen.handle.to_string(),
        volume: seen.volume.as_ref().map(ToString::to_string),
        owner: match &seen.owner {
            Owner::Ours => "ours".to_owned(),
            Owner::Other(instance) => instance.to_string(),
            Owner::Nobody => "nobody".to_owned(),
        },
        size: seen.size.get(),
        used: seen.used.map(Bytes::get),
        layout: seen.layout.to_string(),
        filesystem: seen.made_as.as_ref().and_then(|spec| spec.filesystem).map(|own| own.to_string()),
        provisioning: seen.provisioning.to_string(),
        created: seen.created,
    }
}

pub(crate) fn snapshot(record: &SnapshotRecord) -> SnapshotView {
    SnapshotView {
        volume: record.volume.to_string(),
        name: record.name.to_string(),
        status: record.status().as_str().to_owned(),
        size: record.size.get(),
        created: record.created,
        group: record.group.iter().flat_map(|group| group.members.keys()).map(ToString::to_string).collect(),
    }
}

pub(crate) fn group(name: &SnapshotName, records: &[Arc<SnapshotRecord>]) -> GroupView {
    let snapshots = records.iter().map(|record| snapshot(record)).collect();
    GroupView { name: name.to_string(), snapshots }
}

pub(crate) fn backend(view: &orchestrator::BackendView) -> BackendView {
    let (health, since) = match &view.health {
        orchestrator::BackendHealth::Opening => (BackendHealth::Opening, None),
        orchestrator::BackendHealth::Online => (BackendHealth::Online, None),
        orchestrator::BackendHealth::Unreachable { since, .. } => (BackendHealth::Unreachable, Some(*since)),
        orchestrator::BackendHealth::Failed { .. } => (BackendHealth::Failed, None),
    };
    let able = view.capabilities;
    BackendView {
        name: view.name.to_string(),
        driver: view.driver.clone(),
        health,
        since,
        reason: view.health.reason().map(ToOwned::to_owned),
        suspended: view.suspended,
        file: view.origin.place(),
        capabilities: CapabilitiesView {
            resize: able.resize,
            modify: able.modify,
            snapshots: able.snapshots,
            clones: able.clones,
            groups: able.groups,
            import: able.import,
            staging: able.staging,
        },
        pools: view.pools.iter().map(pool).collect(),
        volumes: view.volumes,
        config: view.config.clone(),
    }
}

pub(crate) fn pool(pool: &Pool) -> PoolView {
    PoolView {
        backend: pool.backend.to_string(),
        name: pool.name.to_string(),
        layouts: pool.layouts.iter().map(ToString::to_string).collect(),
        total: pool.capacity.total.get(),
        used: pool.capacity.used.get(),
        provisioned: pool.capacity.provisioned.get(),
        free_thin: pool.capacity.free_thin.get(),
        free_thick: pool.capacity.free_thick.get(),
        largest: pool.largest.map(Bytes::get),
        granularity: pool.granularity.get(),
        default_size: pool.default_size.get(),
        default_provisioning: pool.default_provisioning.to_string(),
        offers: texts(&pool.offers),
        labels: pool.labels.clone(),
        topologies: pool.topologies.clone(),
        accepts: pool.accepts.iter().map(ToString::to_string).collect(),
    }
}

pub(crate) fn class(class: &Class) -> ClassView {
    ClassView {
        name: class.name.to_string(),
        parameters: class.parameters.clone(),
        mount_options: class.mount_options.clone(),
    }
}

pub(crate) fn node(record: &NodeRecord) -> NodeView {
    let identity = &record.identity;
    NodeView {
        name: identity.name.to_string(),
        addresses: identity.addresses.iter().map(ToString::to_string).collect(),
        initiator: identity.initiator.clone(),
        nqn: identity.nqn.clone(),
        topology: identity.topology.clone(),
        registered: record.registered,
    }
}

pub(crate) fn operation(view: &orchestrator::OperationView) -> OperationView {
    let (state, stage, error) = match &view.state {
        orchestrator::OperationState::Running { stage } => {
            (OperationState::Running, Some((*stage).to_owned()), None)
        }
        orchestrator::OperationState::Done => (OperationState::Done, None, None),
        orchestrator::OperationState::Failed(error) => {
            (OperationState::Failed, None, Some(status::body(error)))
        }
    };
    OperationView {
        id: view.id.to_string(),
        verb: view.verb.to_string(),
        volume: view.volume.to_string(),
        snapshot: view.snapshot.as_ref().map(ToString::to_string),
        backend: view.backend.as_ref().map(ToString::to_string),
        state,
        stage,
        error,
        started: view.started,
        ended: view.ended,
        joined: view.joined,
    }
}

pub(crate) fn finding(finding: &Finding) -> FindingView {
    FindingView {
        severity: match finding.severity {
            orchestrator::Severity::Note => Severity::Note,
            orchestrator::Severity::Warning => Severity::Warning,
            orchestrator::Severity::Error => Severity::Error,
        },
        subject: finding.subject.clone(),
        problem: finding.problem.clone(),
        advice: finding.advice.clone(),
    }
}

fn texts<K: ToString, V: ToString>(map: &BTreeMap<K, V>) -> BTreeMap<String, String> {
    map.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}
