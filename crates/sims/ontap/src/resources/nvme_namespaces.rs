//! NVMe namespaces.

use serde_json::{Value, json};

use super::block_paths as paths;
use super::storage_units;
use super::volumes::forget_block;
use crate::record::{get, merge, number, remove, set, set_default, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, Resource};
use crate::resources::qos_policies;
use crate::state::State;

pub(crate) static NVME_NAMESPACES: Resource = Resource {
    path: "storage/namespaces",
    table: "namespaces",
    schema: "nvme_namespace",
    params: &["allow_delete_while_mapped"],
    view,
    post: Some(create),
    patch: Some(modify),
    delete: Some(delete),
    ..Resource::PLAIN
};

fn view(state: &State, stored: &Value) -> Value {
    let mut namespace = stored.clone();
    let map = map_of(state, text(stored, "uuid").unwrap_or_default());
    namespace["status"] =
        json!({"container_state": "online", "state": "online", "mapped": map.is_some(), "read_only": false});
    if let Some(map) = map {
        namespace["subsystem_map"] = json!({"subsystem": map["subsystem"], "nsid": map["nsid"]});
        remove(&mut namespace, "subsystem_map.subsystem.serial_number");
    }
    namespace
}

fn create(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    let svm = change.svm(&body)?;
    paths::check_comment(&body)?;
    if !change.state.list("nvme_services").any(|service| service["svm"]["uuid"] == svm["uuid"]) {
        return Err(Refusal::new(400, 72_090_029, format!("SVM {} has no NVMe service.", svm["name"])));
    }
    let place = paths::place(change, &body, &svm, "namespace")?;
    paths::check_free(change, &svm, &place.path)?;
    let mut namespace = body;
    if get(&namespace, "clone.source").is_some() {
        let source = paths::named(change, "namespaces", &namespace, "clone.source", &svm, 72_090_006)?;
        if source["location"]["volume"]["uuid"] != place.location["volume"]["uuid"] {
            let message = "A namespace can only be cloned within its volume.";
            return Err(Refusal::new(400, 72_090_014, message).at("clone.source"));
        }
        namespace["os_type"] = source["os_type"].clone();
        namespace["space"] = source["space"].clone();
        namespace["clone"] = json!({"created_as_clone": true});
        namespace["_origin"] = json!({"of": source["uuid"]});
    }
    let system = text(&namespace, "os_type").ok_or_else(|| refusal::missing("os_type"))?;
    if !["aix", "linux", "vmware", "windows"].contains(&system) {
        return Err(refusal::invalid("os_type", system, "<aix|linux|vmware|windows>"));
    }
    let size = number(&namespace, "space.size").ok_or_else(|| refusal::missing("space.size"))?;
    paths::check_size(change, size)?;
    set_default(&mut namespace, "space.block_size", 4096);
    check_blocks(&namespace, size)?;
    paths::check_room(change, &namespace, place.volume.as_ref().map(|(_, volume)| volume), size)?;
    let limit = match get(&namespace, "qos_policy") {
        Some(wanted) => qos_policies::named(change.state, wanted, "qos_policy", &svm)?,
        None => Value::Null,
    };
    for path in ["svm", "location", "qos_policy", "subsystem_map"] {
        remove(&mut namespace, path);
    }
    let uuid = change.new_uuid();
    merge(
        &mut namespace,
        json!({
            "uuid": uuid, "name": place.path, "svm": svm, "location": place.location, "create_time": change.time(),
            "enabled": true,
        }),
    );
    if !limit.is_null() {
        namespace["qos_policy"] = limit;
    }
    set_default(&mut namespace, "space.guarantee.requested", false);
    set_default(&mut namespace, "space.used", 0);
    set_default(&mut namespace, "auto_delete", false);
    let reserved = namespace["space"]["guarantee"]["requested"].clone();
    set(&mut namespace, "space.guarantee.reserved", reserved);
    change.state.put("namespaces", &uuid, namespace);
    storage_units::follow(change.state, &uuid, "namespace");
    Ok(uuid)
}

fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    paths::check_comment(&body)?;
    let mut namespace = change.state.find("namespaces", key).cloned().unwrap_or_default();
    if let Some(new) = text(&body, "name").filter(|new| namespace["name"] != *new) {
        let place = paths::rename(change, &namespace, new, "namespace")?;
        namespace["name"] = json!(place.path);
        namespace["location"] = place.location;
    }
    if let Some(size) = number(&body, "space.size") {
        check_blocks(&namespace, size)?;
        paths::grow(change, &mut namespace, size)?;
    }
    if let Some(wanted) = get(&body, "qos_policy") {
        match qos_policies::named(change.state, wanted, "qos_policy", &namespace["svm"])? {
            Value::Null => drop(remove(&mut namespace, "qos_policy")),
            limit => namespace["qos_policy"] = limit,
        }
    }
    let mut rest = body;
    for path in ["name", "qos_policy", "space", "clone"] {
        remove(&mut rest, path);
    }
    merge(&mut namespace, rest);
    change.state.put("namespaces", key, namespace);
    storage_units::follow(change.state, key, "namespace");
    Ok(())
}

fn delete(change: &mut Change, key: &str) -> Result<()> {
    if map_of(change.state, key).is_some() && !change.params.is_set("allow_delete_while_mapped") {
        let message = "The NVMe namespace is mapped: unmap it before it is deleted.";
        return Err(Refusal::new(409, 72_090_016, message));
    }
    storage_units::check_unused(change.state, key)?;
    forget_block(change.state, "namespaces", key);
    change.state.remove("storage_units", key);
    Ok(())
}

fn map_of<'a>(state: &'a State, key: &str) -> Option<&'a Value> {
    state.below("nvme_maps", key).next().map(|(_, map)| map)
}

fn check_blocks(namespace: &Value, size: u64) -> Result<()> {
    let block = number(namespace, "space.block_size").unwrap_or(0);
    if block != 512 && block != 4096 {
        return Err(refusal::invalid("space.block_size", &block.to_string(), "<512|4096>"));
    }
    if !size.is_multiple_of(block) {
        let message = format!("Size {size} is no multiple of the block size {block}.");
        return Err(Refusal::new(400, 72_090_009, message).at("space.size"));
    }
    Ok(())
}
