//! Consistency groups of volumes that exist, and snapshots of all of them at one moment.

use serde_json::{Value, json};

use super::snapshots;
use crate::record::{get, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, Resource, find_named, name, reference};
use crate::state::State;

pub(crate) static CONSISTENCY_GROUPS: Resource = Resource {
    path: "application/consistency-groups",
    table: "consistency_groups",
    schema: "consistency_group",
    jobs: true,
    view,
    post: Some(create),
    patch: Some(modify),
    delete: Some(delete),
    ..Resource::PLAIN
};

pub(crate) static GROUP_SNAPSHOTS: Resource = Resource {
    path: "application/consistency-groups/{consistency_group.uuid}/snapshots",
    table: "group_snapshots",
    schema: "consistency_group_snapshot",
    jobs: true,
    post: Some(take),
    delete: Some(delete_snapshot),
    ..Resource::PLAIN
};

fn view(state: &State, stored: &Value) -> Value {
    let mut group = stored.clone();
    let volumes = members(stored).filter_map(|uuid| state.find("volumes", uuid));
    group["volumes"] = volumes
        .map(|volume| json!({"name": volume["name"], "uuid": volume["uuid"], "space": {"size": volume["size"]}}))
        .collect();
    group["replicated"] = json!(false);
    group
}

fn create(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    let svm = change.svm(&body)?;
    for field in ["luns", "namespaces", "consistency_groups", "clone"] {
        if get(&body, field).is_some() {
            let message =
                format!("This simulator makes groups of existing volumes only, not with \"{field}\".");
            return Err(Refusal::new(400, 3, message).at(field));
        }
    }
    let name = name(&body, "name", 192, |own| own.is_ascii_alphanumeric() || "_-.".contains(own))?.to_owned();
    if find_named(change.state, "consistency_groups", &svm, &name).is_some() {
        let message = format!("Consistency group \"{name}\" already exists.");
        return Err(Refusal::new(409, 53_411_842, message).at("name"));
    }
    let wanted = body["volumes"].as_array().cloned().unwrap_or_default();
    if wanted.is_empty() {
        return Err(refusal::missing("volumes"));
    }
    let uuid = change.new_uuid();
    let group = json!({"uuid": uuid, "name": name, "svm": svm, "_volumes": []});
    change.state.put("consistency_groups", &uuid, group);
    for volume in wanted {
        change_member(change, &uuid, &volume)?;
    }
    Ok(uuid)
}

fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    for (field, value) in body.as_object().into_iter().flatten() {
        if field != "volumes" {
            return Err(refusal::read_only(field));
        }
        for volume in value.as_array().into_iter().flatten() {
            change_member(change, key, volume)?;
        }
    }
    Ok(())
}

/// Deletes the group; its volumes, and their snapshots, stay.
fn delete(change: &mut Change, key: &str) -> Result<()> {
    change.state.remove("consistency_groups", key);
    change.state.remove_all("group_snapshots", &format!("{key}/"));
    Ok(())
}

/// Adds a volume to a group or takes it out, as its `provisioning_options.action` says.
fn change_member(change: &mut Change, group: &str, wanted: &Value) -> Result<()> {
    let record = change.state.find("consistency_groups", group).cloned().unwrap_or_default();
    let (volume, _) = change.volume(&json!({"volumes": wanted}), "volumes", &record["svm"])?;
    let mut kept: Vec<String> = members(&record).map(str::to_owned).collect();
    match text(wanted, "provisioning_options.action") {
        Some("remove") => kept.retain(|own| *own != volume),
        Some("add") => {
            if let Some(other) = group_of(change.state, &volume) {
                let message =
                    format!("Volume {} is already in consistency group {}.", wanted["name"], other["name"]);
                return Err(Refusal::new(409, 53_411_844, message).at("volumes"));
            }
            let record = change.state.find("volumes", &volume);
            if record.is_some_and(|record| record["style"] == "flexgroup") {
                let message = format!(
                    "Volume {} is a FlexGroup volume, which no consistency group takes.",
                    wanted["name"]
                );
                return Err(Refusal::new(400, 53_411_919, message).at("volumes"));
            }
            kept.push(volume);
        }
        other => {
            let action = other.unwrap_or_default();
            return Err(refusal::invalid("volumes.provisioning_options.action", action, "<add|remove>"));
        }
    }
    change.state.change("consistency_groups", group, |group| group["_volumes"] = json!(kept));
    Ok(())
}

/// Takes a snapshot of each volume, or of none.
fn take(change: &mut Change, parents: &[String], body: Value) -> Result<String> {
    let group = parents.first().cloned().unwrap_or_default();
    let record = change.state.find("consistency_groups", &group).cloned().unwrap_or_default();
    let name = text(&body, "name").ok_or_else(|| refusal::missing("name"))?.to_owned();
    let mut taken = Vec::new();
    for volume in members(&record) {
        let wanted = json!({"name": name});
        let key = snapshots::take(change, volume, &wanted).map_err(|inner| {
            let message = format!("The snapshot of the group failed: {}", inner.message);
            Refusal::new(inner.status, if inner.code == 1 { 53_411_921 } else { inner.code }, message)
        })?;
        let snapshot = change.state.find("snapshots", &key).cloned().unwrap_or_default();
        taken.push(json!({"volume": snapshot["volume"], "snapshot": reference(&snapshot)}));
    }
    let uuid = change.new_uuid();
    let mut snapshot = json!({
        "uuid": uuid, "name": name, "svm": record["svm"], "consistency_group": reference(&record),
        "create_time": change.time(), "is_partial": false, "snapshot_volumes": taken,
    });
    if let Some(comment) = text(&body, "comment") {
        snapshot["comment"] = json!(comment);
    }
    let key = format!("{group}/{uuid}");
    change.state.put("group_snapshots", &key, snapshot);
    Ok(key)
}

fn delete_snapshot(change: &mut Change, key: &str) -> Result<()> {
    let snapshot = change.state.find("group_snapshots", key).cloned().unwrap_or_default();
    for part in snapshot["snapshot_volumes"].as_array().into_iter().flatten() {
        let of = |path| text(part, path).unwrap_or_default();
        let own = format!("{}/{}", of("volume.uuid"), of("snapshot.uuid"));
        if change.state.find("snapshots", &own).is_some_and(|own| snapshots::is_busy(change.state, own)) {
            let message =
                format!("Snapshot {} of volume {} is busy.", snapshot["name"], part["volume"]["name"]);
            return Err(Refusal::new(409, 1_638_555, message));
        }
        change.state.remove("snapshots", &own);
    }
    change.state.remove("group_snapshots", key);
    Ok(())
}

/// The group that a volume is in.
pub(crate) fn group_of<'a>(state: &'a State, volume: &str) -> Option<&'a Value> {
    state.list("consistency_groups").find(|group| members(group).any(|own| own == volume))
}

fn members(group: &Value) -> impl Iterator<Item = &str> {
    group["_volumes"].as_array().into_iter().flatten().filter_map(Value::as_str)
}
