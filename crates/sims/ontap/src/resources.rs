//! Every kind of object of the array, one file each.

mod aggregates;
mod block_paths;
pub(crate) mod cli;
mod cluster;
mod consistency_groups;
mod ems;
mod export_policies;
mod export_rules;
mod fcp;
mod igroups;
mod interfaces;
mod iscsi;
mod jobs;
mod licences;
mod lun_maps;
mod luns;
mod nfs_services;
mod nodes;
mod nvme_maps;
mod nvme_namespaces;
mod nvme_services;
mod nvme_subsystems;
mod peers;
pub(crate) mod qos_policies;
pub(crate) mod qtrees;
pub(crate) mod quota_rules;
mod schedules;
mod snapmirror;
mod snapshot_policies;
pub(crate) mod snapshots;
mod storage_units;
mod svms;
pub(crate) mod volumes;

use crate::refusal::{self, Refusal, Result};
use crate::resource::Resource;
use crate::state::State;

/// All of them.
pub(crate) static ALL: &[&Resource] = &[
    &cluster::CLUSTER,
    &nodes::NODES,
    &licences::LICENCES,
    &jobs::JOBS,
    &schedules::SCHEDULES,
    &svms::SVMS,
    &aggregates::AGGREGATES,
    &interfaces::INTERFACES,
    &volumes::VOLUMES,
    &snapshots::SNAPSHOTS,
    &snapshot_policies::SNAPSHOT_POLICIES,
    &export_policies::EXPORT_POLICIES,
    &export_rules::EXPORT_RULES,
    &export_rules::EXPORT_CLIENTS,
    &qtrees::QTREES,
    &quota_rules::QUOTA_RULES,
    &quota_rules::QUOTA_REPORTS,
    &qos_policies::QOS_POLICIES,
    &nfs_services::NFS_SERVICES,
    &luns::LUNS,
    &luns::LUN_ATTRIBUTES,
    &lun_maps::LUN_MAPS,
    &lun_maps::REPORTING_NODES,
    &igroups::IGROUPS,
    &igroups::INITIATORS,
    &iscsi::SERVICES,
    &iscsi::CREDENTIALS,
    &nvme_services::NVME_SERVICES,
    &nvme_subsystems::NVME_SUBSYSTEMS,
    &nvme_subsystems::NVME_HOSTS,
    &nvme_namespaces::NVME_NAMESPACES,
    &nvme_maps::NVME_MAPS,
    &storage_units::STORAGE_UNITS,
    &storage_units::STORAGE_UNIT_SNAPSHOTS,
    &consistency_groups::CONSISTENCY_GROUPS,
    &consistency_groups::GROUP_SNAPSHOTS,
    &ems::APPLICATION_LOGS,
    &ems::EVENTS,
    &fcp::FCP_SERVICES,
    &peers::SVM_PEERS,
    &peers::CLUSTER_PEERS,
    &snapmirror::POLICIES,
    &snapmirror::RELATIONSHIPS,
    &snapmirror::TRANSFERS,
];

/// The resource whose collection has this path.
pub(crate) fn by_path(path: &str) -> Option<&'static Resource> {
    ALL.iter().copied().find(|resource| resource.path == path)
}

/// The collection that a field of this name refers into.
pub(crate) fn referred(field: &str) -> Option<&'static str> {
    Some(match field {
        "svm" | "parent_svm" => "svm/svms",
        "volume" | "parent_volume" => "storage/volumes",
        "aggregate" | "aggregates" | "home_aggregate" | "destination_aggregate" => "storage/aggregates",
        "node" | "home_node" | "nodes" => "cluster/nodes",
        "snapshot_policy" => "storage/snapshot-policies",
        "export_policy" | "policy" => "protocols/nfs/export-policies",
        "qos_policy" => "storage/qos/policies",
        "lun" => "storage/luns",
        "igroup" => "protocols/san/igroups",
        "namespace" => "storage/namespaces",
        "subsystem" => "protocols/nvme/subsystems",
        _ => return None,
    })
}

/// What the absence of an object is called.
pub(crate) fn absent(resource: &Resource, key: &str) -> Refusal {
    match resource.table {
        "volumes" => Refusal::new(404, 917_927, format!("The specified volume \"{key}\" was not found.")),
        "svms" => Refusal::new(404, 2_621_462, format!("SVM \"{key}\" does not exist.")),
        "export_policies" => Refusal::new(404, 1_703_954, format!("Export policy \"{key}\" does not exist.")),
        "luns" => Refusal::new(404, 5_374_875, format!("LUN \"{key}\" was not found.")),
        "igroups" => Refusal::new(404, 5_374_852, format!("Initiator group \"{key}\" does not exist.")),
        "qtrees" => Refusal::new(404, 5_242_927, format!("Qtree \"{key}\" was not found.")),
        _ => refusal::not_found(key),
    }
}

/// Refuses a collection whose parent does not exist.
pub(crate) fn check_parent(resource: &Resource, state: &State, key: &[String]) -> Result<()> {
    let Some((table, parent)) = parent_of(resource).zip(key.first()) else { return Ok(()) };
    if state.find(table, parent).is_some() {
        return Ok(());
    }
    let owner = ALL.iter().find(|resource| resource.table == table);
    Err(owner.map_or_else(|| refusal::not_found(parent), |owner| absent(owner, parent)))
}

/// Refuses fields that an array of this version has not yet.
pub(crate) fn check_version(state: &State, fields: &str, resource: &Resource) -> Result<()> {
    if resource.table != "cluster"
        || state.list("cluster").any(|cluster| cluster.get("san_optimized").is_some())
    {
        return Ok(());
    }
    match fields.split(',').find(|field| matches!(*field, "san_optimized" | "disaggregated")) {
        Some(field) => Err(refusal::invalid("fields", field, "<field,...>")),
        None => Ok(()),
    }
}

fn parent_of(resource: &Resource) -> Option<&'static str> {
    let parent = resource.parents().next()?;
    Some(match parent {
        "volume.uuid" => "volumes",
        "policy.id" => "export_policies",
        "lun.uuid" => "luns",
        "igroup.uuid" => "igroups",
        "subsystem.uuid" => "nvme_subsystems",
        "storage_unit.uuid" => "storage_units",
        "consistency_group.uuid" => "consistency_groups",
        "relationship.uuid" => "snapmirror_relationships",
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
