//! FlexClone: a volume that shares its blocks with a snapshot, until it is split.

use serde_json::{Value, json};

use super::{check_junction, content, create, qos, space};
use crate::array::jobs::{begin_split, later};
use crate::record::{get, merge, number, remove, set, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, reference};
use crate::resources::{export_policies, snapshots};
use crate::state::State;

pub(super) fn create(change: &mut Change, body: Value, svm: &Value) -> Result<String> {
    for field in ["size", "aggregates", "style"] {
        if get(&body, field).is_some() {
            let message = format!("Specifying a value for \"{field}\" is not valid for a FlexClone volume.");
            return Err(Refusal::new(400, 918_247, message).at(field));
        }
    }
    let (parent_key, parent) = change.volume(&body, "clone.parent_volume", svm)?;
    if parent["state"] != "online" {
        return Err(Refusal::new(400, 524_623, format!("Volume {} is not online.", parent["name"])));
    }
    create::check_count(change)?;
    let name = text(&body, "name").unwrap_or_default().to_owned();
    let snapshot = origin(change, &body, &parent_key, &name)?;
    let uuid = change.new_uuid();
    let mut volume = parent.clone();
    for path in
        ["nas.path", "nas.junction_parent", "clone", "qos", "quota", "is_svm_root", "_tags", "_restored"]
    {
        remove(&mut volume, path);
    }
    for path in
        ["comment", "guarantee", "nas", "snapshot_policy", "tiering", "snapshot_directory_access_enabled"]
    {
        if let Some(value) = get(&body, path) {
            let value = value.clone();
            merge(&mut volume, json!({path: value}));
        }
    }
    if get(&body, "comment").is_none() {
        volume["comment"] = json!("");
    }
    if let Some(policy) = export_policies::named(change.state, &body, "nas.export_policy", svm)? {
        set(&mut volume, "nas.export_policy", policy);
    }
    if let Some(policy) = super::snapshot_policy(change, &body)? {
        volume["snapshot_policy"] = policy;
    }
    if let Some(limit) = qos(change, &body, "qos.policy", svm)?.filter(|limit| !limit.is_null()) {
        set(&mut volume, "qos.policy", limit);
    }
    merge(
        &mut volume,
        json!({
            "uuid": uuid, "name": name, "create_time": change.time(), "_used": 0, "is_svm_root": false,
            "quota": {"state": "off"}, "size": snapshot["_content"]["size"],
            "_origin": {"of": parent_key, "snapshot": snapshot["uuid"]},
            "clone": {
                "is_flexclone": true, "split_initiated": false, "parent_svm": svm,
                "parent_volume": reference(&parent), "parent_snapshot": reference(&snapshot),
                "split_estimate": snapshot["_content"]["used"],
            },
        }),
    );
    if volume["guarantee"]["type"] == "volume" {
        let aggregates = volume["aggregates"].as_array().cloned().unwrap_or_default();
        space::check_room(change, &aggregates, number(&volume, "size").unwrap_or(0))?;
    }
    if let Some(path) = text(&volume, "nas.path").filter(|path| !path.is_empty()) {
        check_junction(change.state, svm, path, &uuid)?;
    }
    create::place_in_namespace(change, &mut volume);
    change.state.put("volumes", &uuid, volume);
    let link = json!({"snapshot": snapshot["uuid"]});
    change.state.put("_clones", &format!("{parent_key}/{uuid}"), link);
    content::copy_into(change, &snapshot, &uuid);
    Ok(uuid)
}

/// Begins to copy what a clone shares.
pub(super) fn split(change: &mut Change, key: &str) -> Result<()> {
    let volume = change.state.find("volumes", key).cloned().unwrap_or_default();
    if volume["clone"]["is_flexclone"] != true {
        return Err(Refusal::new(400, 917_976, format!("Volume {} is not a FlexClone.", volume["name"])));
    }
    if volume["clone"]["split_initiated"] == true {
        return Err(Refusal::new(
            409,
            917_977,
            format!("The split of volume {} is under way.", volume["name"]),
        ));
    }
    let need = number(&volume, "clone.split_estimate").unwrap_or(0);
    if volume["guarantee"]["type"] != "volume" {
        space::check_room(change, volume["aggregates"].as_array().map_or(&[], Vec::as_slice), need)?;
    }
    change.state.change("volumes", key, |volume| {
        set(volume, "clone.split_initiated", true);
        set(volume, "clone.split_complete_percent", 0);
    });
    if change.manner.split_time.is_zero() {
        end_split(change.state, key);
    } else {
        let milliseconds = u64::try_from(change.manner.split_time.as_millis()).unwrap_or(u64::MAX);
        begin_split(change.state, key, later(change.now, milliseconds));
    }
    Ok(())
}

/// The clone shares nothing any more: it is a volume like others, and its snapshot is free.
pub(crate) fn end_split(state: &mut State, key: &str) {
    let parent = state.find("volumes", key).and_then(|volume| text(volume, "clone.parent_volume.uuid"));
    if let Some(parent) = parent.map(str::to_owned) {
        state.remove("_clones", &format!("{parent}/{key}"));
    }
    state.change("volumes", key, |volume| {
        let copied = number(volume, "clone.split_estimate").unwrap_or(0);
        volume["_used"] = json!(number(volume, "_used").unwrap_or(0) + copied);
        volume["clone"] = json!({"is_flexclone": false});
    });
}

/// The snapshot that a clone begins at: the one it names, or one that is taken for it.
fn origin(change: &mut Change, body: &Value, parent: &str, clone: &str) -> Result<Value> {
    let name = text(body, "clone.parent_snapshot.name");
    let uuid = text(body, "clone.parent_snapshot.uuid");
    let found = match (name, uuid) {
        (None, None) => {
            let name = format!("clone_{clone}.{}", change.now.strftime("%Y-%m-%d_%H%M%S.0"));
            let key = snapshots::take(change, parent, &json!({"name": name}))?;
            return Ok(change.state.find("snapshots", &key).cloned().unwrap_or_default());
        }
        (_, Some(uuid)) => change.state.find("snapshots", &format!("{parent}/{uuid}")),
        (Some(name), None) => snapshots::find(change.state, parent, name).map(|(_, snapshot)| snapshot),
    };
    let shown = name.or(uuid).unwrap_or_default();
    found
        .cloned()
        .ok_or_else(|| refusal::not_found(&format!("snapshot \"{shown}\"")).at("clone.parent_snapshot.name"))
}
