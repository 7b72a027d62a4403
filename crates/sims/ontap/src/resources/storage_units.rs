//! Storage units of an ASA r2: LUNs and namespaces as what they are there, with snapshots and clones of their own.

use serde_json::{Value, json};

use super::volumes::give_serial;
use crate::record::{flag, merge, number, remove, set, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, Resource, find_named, name, reference};
use crate::state::State;

pub(crate) static STORAGE_UNITS: Resource = Resource {
    path: "storage/storage-units",
    table: "storage_units",
    schema: "storage_unit",
    order: &["name"],
    jobs: true,
    params: &["restore_to.snapshot.name", "restore_to.snapshot.uuid", "allow_delete_while_mapped"],
    view,
    post: Some(create),
    patch: Some(modify),
    delete: Some(delete),
    ..Resource::PLAIN
};

pub(crate) static STORAGE_UNIT_SNAPSHOTS: Resource = Resource {
    path: "storage/storage-units/{storage_unit.uuid}/snapshots",
    table: "storage_unit_snapshots",
    schema: "storage_unit_snapshot",
    order: &["storage_unit.uuid", "create_time", "_order"],
    jobs: true,
    view: view_snapshot,
    post: Some(take),
    patch: Some(modify_snapshot),
    delete: Some(delete_snapshot),
    ..Resource::PLAIN
};

/// A LUN or namespace was made or changed: on an ASA r2 its storage unit follows.
pub(crate) fn follow(state: &mut State, key: &str, kind: &str) {
    if !state.list("cluster").any(|cluster| cluster["san_optimized"] == true) {
        return;
    }
    let mut unit = state
        .find("storage_units", key)
        .cloned()
        .unwrap_or_else(|| json!({"clone": {"is_flexclone": false}}));
    merge(&mut unit, json!({"uuid": key, "type": kind}));
    state.put("storage_units", key, unit);
}

/// Refuses to delete what a clone stands on, and takes the snapshots of the rest out with it.
pub(crate) fn check_unused(state: &mut State, key: &str) -> Result<()> {
    let is_child = |unit: &&Value| text(unit, "clone.source.storage_unit.uuid") == Some(key);
    if let Some(child) = state.list("storage_units").find(is_child) {
        let message = format!("The storage unit is the source of a clone, {}: it is busy.", child["uuid"]);
        return Err(Refusal::new(409, 524_486, message));
    }
    state.remove_all("storage_unit_snapshots", &format!("{key}/"));
    Ok(())
}

/// The table that holds the blocks of a unit.
fn table(unit: &Value) -> &'static str {
    if unit["type"] == "namespace" { "namespaces" } else { "luns" }
}

fn view(state: &State, stored: &Value) -> Value {
    let mut unit = stored.clone();
    let key = text(stored, "uuid").unwrap_or_default();
    let block = state.find(table(stored), key).cloned().unwrap_or_default();
    for field in
        ["name", "svm", "comment", "create_time", "enabled", "os_type", "serial_number", "qos_policy"]
    {
        if let Some(value) = block.get(field) {
            unit[field] = value.clone();
        }
    }
    let size = number(&block, "space.size").unwrap_or(0);
    unit["space"] = json!({"size": size, "used": number(&block, "space.used").unwrap_or(0)});
    let maps: Vec<Value> = if table(stored) == "luns" {
        let maps = state.entries("lun_maps", &format!("{key}/")).map(|(_, map)| map);
        maps.map(|map| json!({"lun_map": {"igroup": map["igroup"], "logical_unit_number": map["logical_unit_number"]}}))
            .collect()
    } else {
        let maps = state.below("nvme_maps", key).map(|(_, map)| map);
        maps.map(|map| json!({"subsystem_map": {"subsystem": map["subsystem"], "nsid": map["nsid"]}}))
            .collect()
    };
    unit["status"] = json!({
        "container_state": "online", "state": "online", "mapped": !maps.is_empty(), "read_only": false,
    });
    if !maps.is_empty() {
        unit["maps"] = json!(maps);
    }
    unit
}

/// A storage unit is made as the clone of another; plain ones are made as LUNs or namespaces.
fn create(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    let svm = change.svm(&body)?;
    let legal = |own: char| own.is_ascii_alphanumeric() || "-._".contains(own);
    let name = name(&body, "name", 254, legal)?.to_owned();
    for table in ["luns", "namespaces"] {
        if find_named(change.state, table, &svm, &name).is_some() {
            let message = format!("A storage unit named \"{name}\" already exists.");
            return Err(Refusal::new(409, 5_374_242, message).at("name"));
        }
    }
    let (source, snapshot) = origin(change, &body, &svm)?;
    let mut block = snapshot["_content"].clone();
    let uuid = change.new_uuid();
    merge(&mut block, json!({"uuid": uuid, "name": name, "create_time": change.time(), "svm": svm}));
    if source["type"] == "lun" {
        give_serial(&mut block, change.state.next_number());
    }
    let unit = json!({
        "uuid": uuid, "type": source["type"],
        "clone": {
            "is_flexclone": true, "split_initiated": false,
            "source": {"storage_unit": reference(&source), "snapshot": reference(&snapshot), "svm": svm},
        },
    });
    change.state.put(table(&source), &uuid, block);
    change.state.put("storage_units", &uuid, unit);
    Ok(uuid)
}

fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    let unit = change.state.find("storage_units", key).cloned().unwrap_or_default();
    if flag(&body, "clone.split_initiated") {
        if unit["clone"]["is_flexclone"] != true {
            return Err(Refusal::new(400, 917_976, "The storage unit is not a clone."));
        }
        change.state.change("storage_units", key, |unit| unit["clone"] = json!({"is_flexclone": false}));
    }
    let params = ["restore_to.snapshot.name", "restore_to.snapshot.uuid"];
    if let Some(wanted) = params.iter().find_map(|param| change.params.extra(param)).map(str::to_owned) {
        restore(change, key, &unit, &wanted)?;
    }
    Ok(())
}

fn restore(change: &mut Change, key: &str, unit: &Value, wanted: &str) -> Result<()> {
    let all: Vec<(String, Value)> = change
        .state
        .entries("storage_unit_snapshots", &format!("{key}/"))
        .map(|(own, snapshot)| (own.to_owned(), snapshot.clone()))
        .collect();
    let found = all.iter().find(|(_, snapshot)| snapshot["name"] == wanted || snapshot["uuid"] == wanted);
    let (_, snapshot) = found.ok_or_else(|| refusal::not_found(&format!("snapshot \"{wanted}\"")))?;
    for (own, other) in &all {
        if other["_order"].as_u64() > snapshot["_order"].as_u64() {
            check_idle(change.state, other)?;
            change.state.remove("storage_unit_snapshots", own);
        }
    }
    let mut block = snapshot["_content"].clone();
    let now = change.state.find(table(unit), key).cloned().unwrap_or_default();
    block["name"] = now["name"].clone();
    change.state.put(table(unit), key, block);
    Ok(())
}

fn delete(change: &mut Change, key: &str) -> Result<()> {
    let unit =
        change.state.find("storage_units", key).map(|unit| view(change.state, unit)).unwrap_or_default();
    if unit["status"]["mapped"] == true && !change.params.is_set("allow_delete_while_mapped") {
        return Err(Refusal::new(
            409,
            1_254_197,
            "The storage unit is mapped: unmap it before it is deleted.",
        ));
    }
    check_unused(change.state, key)?;
    super::volumes::forget_block(change.state, table(&unit), key);
    change.state.remove("storage_units", key);
    Ok(())
}

fn view_snapshot(state: &State, stored: &Value) -> Value {
    let mut snapshot = stored.clone();
    let unit = text(stored, "storage_unit.uuid").and_then(|key| state.find("storage_units", key));
    if let Some(unit) = unit {
        let block = view(state, unit);
        set(&mut snapshot, "storage_unit", json!({"name": block["name"], "uuid": block["uuid"]}));
    }
    if check_idle(state, stored).is_err() {
        snapshot["owners"] = json!(["volume_clone"]);
    }
    snapshot
}

fn take(change: &mut Change, parents: &[String], body: Value) -> Result<String> {
    let unit = parents.first().cloned().unwrap_or_default();
    take_of(change, &unit, &body)
}

fn take_of(change: &mut Change, unit: &str, body: &Value) -> Result<String> {
    let name = name(body, "name", 255, |own| !own.is_control() && own != '/')?.to_owned();
    let prefix = format!("{unit}/");
    if change.state.entries("storage_unit_snapshots", &prefix).any(|(_, own)| own["name"] == name) {
        return Err(refusal::exists(&format!("snapshot \"{name}\"")).at("name"));
    }
    if change.state.entries("storage_unit_snapshots", &prefix).count() >= change.limits().snapshots_per_volume
    {
        return Err(Refusal::new(400, 1_638_480, "The storage unit has as many snapshots as it can have."));
    }
    let record = change.state.find("storage_units", unit).cloned().unwrap_or_default();
    let content = change.state.find(table(&record), unit).cloned().unwrap_or_default();
    let (uuid, version) = (change.new_uuid(), change.new_uuid());
    let order = change.state.next_number();
    let mut snapshot = body.clone();
    for path in ["svm", "storage_unit"] {
        remove(&mut snapshot, path);
    }
    merge(
        &mut snapshot,
        json!({
            "uuid": uuid, "name": name, "version_uuid": version, "create_time": change.time(), "state": "valid",
            "size": 0, "storage_unit": {"name": content["name"], "uuid": unit}, "svm": content["svm"],
            "_order": order, "_content": content,
        }),
    );
    let key = format!("{prefix}{uuid}");
    change.state.put("storage_unit_snapshots", &key, snapshot);
    Ok(key)
}

fn modify_snapshot(change: &mut Change, key: &str, body: Value) -> Result<()> {
    let unit = key.split_once('/').map_or(key, |(unit, _)| unit);
    if let Some(new) = text(&body, "name") {
        let mut others = change.state.entries("storage_unit_snapshots", &format!("{unit}/"));
        if others.any(|(own, snapshot)| own != key && snapshot["name"] == new) {
            return Err(refusal::exists(&format!("snapshot \"{new}\"")).at("name"));
        }
    }
    change.state.change("storage_unit_snapshots", key, |snapshot| merge(snapshot, body));
    Ok(())
}

fn delete_snapshot(change: &mut Change, key: &str) -> Result<()> {
    let snapshot = change.state.find("storage_unit_snapshots", key).cloned().unwrap_or_default();
    check_idle(change.state, &snapshot)?;
    change.state.remove("storage_unit_snapshots", key);
    Ok(())
}

fn check_idle(state: &State, snapshot: &Value) -> Result<()> {
    if state.list("storage_units").any(|unit| unit["clone"]["source"]["snapshot"]["uuid"] == snapshot["uuid"])
    {
        let message = format!("Snapshot {} is busy because of vclone.", snapshot["name"]);
        return Err(Refusal::new(409, 1_638_555, message));
    }
    Ok(())
}

/// The unit and the snapshot that a clone begins at.
fn origin(change: &mut Change, body: &Value, svm: &Value) -> Result<(Value, Value)> {
    let path = "clone.source.storage_unit";
    let (wanted_name, wanted) = (text(body, &format!("{path}.name")), text(body, &format!("{path}.uuid")));
    let key = match (wanted, wanted_name) {
        (Some(uuid), _) => Some(uuid.to_owned()),
        (None, Some(name)) => ["luns", "namespaces"]
            .iter()
            .find_map(|table| find_named(change.state, table, svm, name))
            .and_then(|own| text(own, "uuid").map(str::to_owned)),
        (None, None) => return Err(refusal::missing(&format!("{path}.uuid"))),
    };
    let unit = key.as_deref().and_then(|key| change.state.find("storage_units", key));
    let unit = unit
        .map(|unit| view(change.state, unit))
        .ok_or_else(|| refusal::not_found("storage unit").at(path))?;
    let key = key.unwrap_or_default();
    let snapshot = (text(body, "clone.source.snapshot.name"), text(body, "clone.source.snapshot.uuid"));
    let found = match snapshot {
        (None, None) => {
            let name = format!("clone.{}", change.now.strftime("%Y-%m-%d_%H%M%S.0"));
            let taken = take_of(change, &key, &json!({"name": name}))?;
            change.state.find("storage_unit_snapshots", &taken)
        }
        (_, Some(uuid)) => change.state.find("storage_unit_snapshots", &format!("{key}/{uuid}")),
        (Some(name), None) => change
            .state
            .entries("storage_unit_snapshots", &format!("{key}/"))
            .map(|(_, snapshot)| snapshot)
            .find(|snapshot| snapshot["name"] == name),
    };
    let snapshot =
        found.cloned().ok_or_else(|| refusal::not_found("snapshot").at("clone.source.snapshot"))?;
    Ok((unit, snapshot))
}
