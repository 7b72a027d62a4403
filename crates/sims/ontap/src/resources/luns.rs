//! LUNs and their attributes.

use serde_json::{Value, json};

use super::block_paths::{self as paths, Place};
use super::storage_units;
use super::volumes::{forget_block, give_serial};
use crate::record::{get, merge, number, remove, set, set_default, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, Resource};
use crate::resources::qos_policies;
use crate::state::State;

pub(crate) static LUNS: Resource = Resource {
    path: "storage/luns",
    table: "luns",
    schema: "lun",
    params: &["allow_delete_while_mapped"],
    view,
    post: Some(create),
    patch: Some(modify),
    delete: Some(delete),
    ..Resource::PLAIN
};

pub(crate) static LUN_ATTRIBUTES: Resource = Resource {
    path: "storage/luns/{lun.uuid}/attributes",
    keys: &["name"],
    table: "lun_attributes",
    schema: "lun_attribute",
    post: Some(create_attribute),
    patch: Some(modify_attribute),
    delete: Some(delete_attribute),
    ..Resource::PLAIN
};

const SYSTEMS: &[&str] = &[
    "aix",
    "hpux",
    "hyper_v",
    "linux",
    "netware",
    "openvms",
    "solaris",
    "solaris_efi",
    "vmware",
    "windows",
    "windows_2008",
    "windows_gpt",
    "xen",
];

fn view(state: &State, stored: &Value) -> Value {
    let mut lun = stored.clone();
    let uuid = text(stored, "uuid").unwrap_or_default();
    let maps: Vec<Value> = state
        .entries("lun_maps", &format!("{uuid}/"))
        .map(|(_, map)| json!({"igroup": map["igroup"], "logical_unit_number": map["logical_unit_number"]}))
        .collect();
    let attributes: Vec<Value> = state
        .entries("lun_attributes", &format!("{uuid}/"))
        .map(|(_, own)| json!({"name": own["name"], "value": own["value"]}))
        .collect();
    let state = if stored["enabled"] == true { "online" } else { "offline" };
    lun["status"] = json!({
        "container_state": "online", "state": state, "mapped": !maps.is_empty(), "read_only": false,
    });
    if !maps.is_empty() {
        lun["lun_maps"] = json!(maps);
    }
    if !attributes.is_empty() {
        lun["attributes"] = json!(attributes);
    }
    lun
}

fn create(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    let svm = change.svm(&body)?;
    paths::check_comment(&body)?;
    let place = paths::place(change, &body, &svm, "logical_unit")?;
    paths::check_free(change, &svm, &place.path)?;
    let source = match get(&body, "clone.source") {
        Some(_) => Some(source(change, &body, &svm, &place)?),
        None => None,
    };
    let mut lun = body;
    match &source {
        Some(source) => {
            lun["os_type"] = source["os_type"].clone();
            let size = number(&lun, "space.size").or_else(|| number(source, "space.size"));
            let mut space = source["space"].clone();
            merge(&mut space, lun["space"].take());
            lun["space"] = space;
            set(&mut lun, "space.size", size);
        }
        None => {
            let system = text(&lun, "os_type").ok_or_else(|| refusal::missing("os_type"))?;
            if !SYSTEMS.contains(&system) {
                return Err(refusal::invalid("os_type", system, &format!("<{}>", SYSTEMS.join("|"))));
            }
        }
    }
    let size = number(&lun, "space.size").ok_or_else(|| refusal::missing("space.size"))?;
    paths::check_size(change, size)?;
    check_count(change, place.volume.as_ref())?;
    paths::check_room(change, &lun, place.volume.as_ref().map(|(_, volume)| volume), size)?;
    let limit = match get(&lun, "qos_policy") {
        Some(wanted) => qos_policies::named(change.state, wanted, "qos_policy", &svm)?,
        None => Value::Null,
    };
    let uuid = change.new_uuid();
    let attributes = remove(&mut lun, "attributes");
    for path in ["svm", "location", "clone", "qos_policy", "lun_maps"] {
        remove(&mut lun, path);
    }
    merge(
        &mut lun,
        json!({
            "uuid": uuid, "name": place.path, "svm": svm, "location": place.location,
            "create_time": change.time(),
        }),
    );
    give_serial(&mut lun, change.state.next_number());
    if !limit.is_null() {
        lun["qos_policy"] = limit;
    }
    if let Some(source) = &source {
        lun["clone"] = json!({"created_as_clone": true});
        lun["_content"] = source["_content"].clone();
        lun["_origin"] = json!({"of": source["uuid"]});
    }
    set_default(&mut lun, "enabled", true);
    set_default(&mut lun, "class", "regular");
    set_default(&mut lun, "space.guarantee.requested", false);
    set_default(&mut lun, "space.scsi_thin_provisioning_support_enabled", place.volume.is_none());
    set_default(&mut lun, "space.used", 0);
    let reserved = lun["space"]["guarantee"]["requested"].clone();
    set(&mut lun, "space.guarantee.reserved", reserved);
    change.state.put("luns", &uuid, lun);
    for own in attributes.as_ref().and_then(Value::as_array).into_iter().flatten() {
        create_attribute(change, std::slice::from_ref(&uuid), own.clone())?;
    }
    storage_units::follow(change.state, &uuid, "lun");
    Ok(uuid)
}

/// The LUN that a clone is made of: in the same volume.
fn source(change: &Change, body: &Value, svm: &Value, place: &Place) -> Result<Value> {
    let source = paths::named(change, "luns", body, "clone.source", svm, 5_374_876)?;
    if source["location"]["volume"]["uuid"] != place.location["volume"]["uuid"] {
        let message = "A LUN can only be cloned within its volume.";
        return Err(Refusal::new(400, 5_374_157, message).at("clone.source"));
    }
    Ok(source)
}

/// The content and the size of another LUN of the volume; what the LUN is and who sees it stay.
fn overwrite(change: &mut Change, lun: &mut Value, body: &Value) -> Result<()> {
    let source = paths::named(change, "luns", body, "clone.source", &lun["svm"], 5_374_876)?;
    if source["location"]["volume"]["uuid"] != lun["location"]["volume"]["uuid"] {
        let message = "A LUN can only be overwritten by a LUN of its volume.";
        return Err(Refusal::new(400, 5_374_157, message).at("clone.source"));
    }
    lun["_content"] = source["_content"].clone();
    lun["_overwritten"] = json!({"by": source["uuid"], "number": change.state.next_number()});
    set(lun, "space.size", source["space"]["size"].clone());
    Ok(())
}

fn check_count(change: &Change, volume: Option<&(String, Value)>) -> Result<()> {
    let Some((key, volume)) = volume else { return Ok(()) };
    let count = change.state.below("luns", key).count();
    if count >= change.limits().luns_per_volume {
        let message = format!("Volume {} has {count} LUNs, which is the most it can have.", volume["name"]);
        return Err(Refusal::new(400, 5_374_132, message));
    }
    Ok(())
}

fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    paths::check_comment(&body)?;
    let mut lun = change.state.find("luns", key).cloned().unwrap_or_default();
    if let Some(new) = text(&body, "name").filter(|new| lun["name"] != *new) {
        let place = paths::rename(change, &lun, new, "logical_unit")?;
        lun["name"] = json!(place.path);
        lun["location"] = place.location;
        super::lun_maps::rename(change.state, key, &lun["name"]);
    }
    if get(&body, "clone.source").is_some() {
        overwrite(change, &mut lun, &body)?;
    }
    if let Some(size) = number(&body, "space.size") {
        paths::grow(change, &mut lun, size)?;
    }
    if let Some(wanted) = get(&body, "qos_policy") {
        match qos_policies::named(change.state, wanted, "qos_policy", &lun["svm"])? {
            Value::Null => drop(remove(&mut lun, "qos_policy")),
            limit => lun["qos_policy"] = limit,
        }
    }
    let mut rest = body;
    for path in ["name", "location", "qos_policy", "space.size", "clone"] {
        remove(&mut rest, path);
    }
    if get(&rest, "space.guarantee.requested") == Some(&json!(true))
        && lun["space"]["guarantee"]["requested"] != true
    {
        let size = number(&lun, "space.size").unwrap_or(0);
        let volume = text(&lun, "location.volume.uuid").and_then(|uuid| change.state.find("volumes", uuid));
        paths::check_room(change, &rest, volume, size)?;
    }
    merge(&mut lun, rest);
    let reserved = lun["space"]["guarantee"]["requested"].clone();
    set(&mut lun, "space.guarantee.reserved", reserved);
    change.state.put("luns", key, lun);
    storage_units::follow(change.state, key, "lun");
    Ok(())
}

fn delete(change: &mut Change, key: &str) -> Result<()> {
    let mapped = change.state.entries("lun_maps", &format!("{key}/")).next().is_some();
    if mapped && !change.params.is_set("allow_delete_while_mapped") {
        let message = "The LUN is mapped: unmap it before it is deleted.";
        return Err(Refusal::new(409, 1_254_197, message));
    }
    storage_units::check_unused(change.state, key)?;
    forget_block(change.state, "luns", key);
    change.state.remove("storage_units", key);
    Ok(())
}

fn create_attribute(change: &mut Change, parents: &[String], body: Value) -> Result<String> {
    let lun = parents.first().cloned().unwrap_or_default();
    let name = text(&body, "name").filter(|name| !name.is_empty()).ok_or_else(|| refusal::missing("name"))?;
    let value =
        text(&body, "value").filter(|value| !value.is_empty()).ok_or_else(|| refusal::missing("value"))?;
    check_attribute(name, value)?;
    let key = format!("{lun}/{name}");
    if change.state.find("lun_attributes", &key).is_some() {
        return Err(Refusal::new(409, 5_374_931, format!("Attribute \"{name}\" exists.")).at("name"));
    }
    let svm = change.state.find("luns", &lun).map(|lun| lun["svm"].clone());
    let attribute = json!({"name": name, "value": value, "lun": {"uuid": lun}, "_svm": svm});
    change.state.put("lun_attributes", &key, attribute);
    Ok(key)
}

fn modify_attribute(change: &mut Change, key: &str, body: Value) -> Result<()> {
    let name = key.split_once('/').map_or(key, |(_, name)| name);
    let value =
        text(&body, "value").filter(|value| !value.is_empty()).ok_or_else(|| refusal::missing("value"))?;
    check_attribute(name, value)?;
    change.state.change("lun_attributes", key, |attribute| attribute["value"] = json!(value));
    Ok(())
}

fn delete_attribute(change: &mut Change, key: &str) -> Result<()> {
    change.state.remove("lun_attributes", key);
    Ok(())
}

fn check_attribute(name: &str, value: &str) -> Result<()> {
    if name.len() + value.len() > 4092 {
        return Err(
            Refusal::new(400, 5_374_929, "The name and value of an attribute are too long.").at("value")
        );
    }
    Ok(())
}
