//! `PATCH /storage/volumes/{uuid}`.

use serde_json::{Value, json};

use super::{
    check_choices, check_junction, check_name, check_unique, clone, content, create, qos, snapshot_policy,
    space,
};
use crate::record::{flag, get, merge, number, remove, set, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::Change;
use crate::resources::{export_policies, qtrees, snapshots};

pub(super) fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    let before = change.state.find("volumes", key).cloned().unwrap_or_default();
    let svm = before["svm"].clone();
    check_choices(&body)?;
    if flag(&body, "clone.split_initiated") {
        clone::split(change, key)?;
    }
    if let Some(wanted) = restore_wanted(change, &body) {
        restore(change, key, &wanted)?;
    }
    if let Some(new) = text(&body, "name").filter(|new| before["name"] != *new) {
        check_name(new)?;
        check_unique(change.state, &svm, new)?;
        let new = json!(new);
        change.state.change("volumes", key, |volume| volume["name"] = new);
        content::rename(change.state, key);
    }
    if let Some(size) = number(&body, "size").or_else(|| number(&body, "space.size")) {
        resize(change, key, size)?;
    }
    if let Some(state) = text(&body, "state") {
        set_state(change, key, state)?;
    }
    if let Some(on) = get(&body, "quota.enabled").and_then(Value::as_bool) {
        qtrees::set_quota(change, key, on)?;
    }
    if let Some(target) = get(&body, "movement.destination_aggregate") {
        relocate(change, key, target)?;
    }
    if before["encryption"]["enabled"] == true && get(&body, "encryption.enabled") == Some(&json!(false)) {
        let message =
            format!("Volume {} is encrypted and cannot be made plain by a modification.", before["name"]);
        return Err(Refusal::new(400, 918_204, message).at("encryption.enabled"));
    }
    let export_policy = export_policies::named(change.state, &body, "nas.export_policy", &svm)?;
    let policy = snapshot_policy(change, &body)?;
    let limit = qos(change, &body, "qos.policy", &svm)?;
    let mut volume = change.state.find("volumes", key).cloned().unwrap_or_default();
    let became_thick =
        get(&body, "guarantee.type") == Some(&json!("volume")) && volume["guarantee"]["type"] == "none";
    if became_thick {
        let aggregates = volume["aggregates"].as_array().cloned().unwrap_or_default();
        let more = number(&volume, "size").unwrap_or(0).saturating_sub(space::footprint(&volume));
        space::check_room(change, &aggregates, more)?;
    }
    let mut rest = body;
    for path in [
        "clone",
        "restore_to",
        "name",
        "size",
        "space.size",
        "state",
        "quota",
        "movement",
        "nas.export_policy",
        "snapshot_policy",
        "qos",
    ] {
        remove(&mut rest, path);
    }
    if let Some(path) = text(&rest, "nas.path").map(str::to_owned) {
        if !path.is_empty() {
            if volume["state"] != "online" {
                return Err(Refusal::new(400, 524_623, format!("Volume {} is not online.", volume["name"])));
            }
            check_junction(change.state, &svm, &path, key)?;
        }
        check_nothing_below(change, &volume, &path)?;
    }
    merge(&mut volume, rest);
    create::place_in_namespace(change, &mut volume);
    if let Some(policy) = export_policy {
        set(&mut volume, "nas.export_policy", policy);
    }
    if let Some(policy) = policy {
        volume["snapshot_policy"] = policy;
    }
    match limit {
        Some(Value::Null) => drop(remove(&mut volume, "qos.policy")),
        Some(limit) => set(&mut volume, "qos.policy", limit),
        None => {}
    }
    change.state.put("volumes", key, volume);
    Ok(())
}

/// The snapshot that a call restores: named in its query or in its body.
fn restore_wanted(change: &Change, body: &Value) -> Option<String> {
    let params = ["restore_to.snapshot.name", "restore_to.snapshot.uuid"];
    let asked = params.iter().find_map(|param| change.params.extra(param));
    asked.or_else(|| params.iter().find_map(|path| text(body, path))).map(str::to_owned)
}

fn restore(change: &mut Change, key: &str, wanted: &str) -> Result<()> {
    let volume = change.state.find("volumes", key).cloned().unwrap_or_default();
    if volume["state"] != "online" {
        return Err(Refusal::new(400, 524_623, format!("Volume {} is not online.", volume["name"])));
    }
    let all: Vec<(String, Value)> = change
        .state
        .entries("snapshots", &format!("{key}/"))
        .map(|(own, snapshot)| (own.to_owned(), snapshot.clone()))
        .collect();
    let found = all.iter().find(|(_, snapshot)| snapshot["name"] == wanted || snapshot["uuid"] == wanted);
    let (_, snapshot) = found.ok_or_else(|| refusal::not_found(&format!("snapshot \"{wanted}\"")))?;
    let newer = |(_, other): &&(String, Value)| other["_order"].as_u64() > snapshot["_order"].as_u64();
    for (_, other) in all.iter().filter(newer) {
        if snapshots::is_busy(change.state, other) {
            let message = format!("Snapshot {} is newer and busy: it cannot be deleted.", other["name"]);
            return Err(Refusal::new(409, 1_638_555, message));
        }
    }
    for (own, _) in all.iter().filter(newer) {
        change.state.remove("snapshots", own);
    }
    content::restore(change, snapshot, key);
    Ok(())
}

fn resize(change: &mut Change, key: &str, size: u64) -> Result<()> {
    let volume = change.state.find("volumes", key).cloned().unwrap_or_default();
    let before = number(&volume, "size").unwrap_or(0);
    create::check_size(change, size, number(&volume, "constituent_count"))?;
    if volume["state"] != "online" {
        return Err(Refusal::new(400, 524_623, format!("Volume {} is not online.", volume["name"])));
    }
    if size < before {
        if volume["style"] == "flexgroup" {
            let message = format!("FlexGroup {} cannot be made smaller.", volume["name"]);
            return Err(Refusal::new(400, 917_537, message).at("size"));
        }
        let mut smaller = volume.clone();
        smaller["size"] = json!(size);
        let used = space::used(change.state, &volume);
        if used > space::for_data(&smaller) {
            let message = format!("Volume {} holds {used} bytes and cannot be made smaller.", volume["name"]);
            return Err(Refusal::new(400, 917_538, message).at("size"));
        }
    } else if volume["guarantee"]["type"] == "volume" {
        let aggregates = volume["aggregates"].as_array().cloned().unwrap_or_default();
        space::check_room(change, &aggregates, size - before)?;
    }
    change.state.change("volumes", key, |volume| volume["size"] = json!(size));
    Ok(())
}

fn set_state(change: &mut Change, key: &str, state: &str) -> Result<()> {
    let volume = change.state.find("volumes", key).cloned().unwrap_or_default();
    if state != "online" && get(&volume, "nas.path").is_some() {
        let message = format!("Volume {} is mounted: unmount it before it goes {state}.", volume["name"]);
        return Err(Refusal::new(409, 918_220, message).at("state"));
    }
    let state = json!(state);
    change.state.change("volumes", key, |volume| volume["state"] = state);
    Ok(())
}

/// A volume that others hang on stays where it is.
fn check_nothing_below(change: &Change, volume: &Value, new: &str) -> Result<()> {
    if text(volume, "nas.path").is_none_or(|path| path == new) {
        return Ok(());
    }
    let below = change
        .state
        .below("volumes", text(volume, "uuid").unwrap_or_default())
        .next()
        .map(|(_, other)| other);
    match below {
        None => Ok(()),
        Some(other) => {
            let message = format!("Volume {} is mounted below {}.", other["name"], volume["name"]);
            Err(Refusal::new(409, 918_221, message).at("nas.path"))
        }
    }
}

/// Moves a volume to another aggregate: at once, where an array takes its time.
fn relocate(change: &mut Change, key: &str, target: &Value) -> Result<()> {
    let volume = change.state.find("volumes", key).cloned().unwrap_or_default();
    let name =
        target["name"].as_str().ok_or_else(|| refusal::missing("movement.destination_aggregate.name"))?;
    let found = change.state.find_by("aggregates", "name", name);
    let aggregate = found.map(|(_, own)| json!({"name": own["name"], "uuid": own["uuid"]}));
    let aggregate = aggregate.ok_or_else(|| refusal::not_found(&format!("aggregate \"{name}\"")))?;
    space::check_room(change, std::slice::from_ref(&aggregate), space::footprint(&volume))?;
    if change.params.is_set("validate_only") {
        return Ok(());
    }
    change.state.change("volumes", key, |volume| {
        volume["movement"] =
            json!({"destination_aggregate": aggregate, "state": "success", "percent_complete": 100});
        volume["aggregates"] = json!([aggregate]);
    });
    Ok(())
}
