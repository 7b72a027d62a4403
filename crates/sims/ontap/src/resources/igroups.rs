//! Igroups: the initiators that LUNs are mapped to.

use serde_json::{Value, json};

use crate::record::{merge, remove, set_default, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, Resource, find_named, name, reference};
use crate::state::State;

pub(crate) static IGROUPS: Resource = Resource {
    path: "protocols/san/igroups",
    table: "igroups",
    schema: "igroup",
    order: &["name"],
    params: &["allow_delete_while_mapped"],
    view,
    post: Some(create),
    patch: Some(modify),
    delete: Some(delete),
    ..Resource::PLAIN
};

pub(crate) static INITIATORS: Resource = Resource {
    path: "protocols/san/igroups/{igroup.uuid}/initiators",
    keys: &["name"],
    table: "igroup_initiators",
    schema: "igroup_initiator",
    params: &["allow_delete_while_mapped"],
    post: Some(add_initiator),
    patch: Some(modify_initiator),
    delete: Some(delete_initiator),
    ..Resource::PLAIN
};

const SYSTEMS: &[&str] =
    &["aix", "hpux", "hyper_v", "linux", "netware", "openvms", "solaris", "vmware", "windows", "xen"];

/// Deletes an igroup that asked to go with its last map.
pub(crate) fn delete_if_unmapped(state: &mut State, key: &str) {
    if is_mapped(state, key)
        || state.find("igroups", key).is_none_or(|igroup| igroup["delete_on_unmap"] != true)
    {
        return;
    }
    state.remove("igroups", key);
    state.remove_all("igroup_initiators", &format!("{key}/"));
}

fn view(state: &State, stored: &Value) -> Value {
    let mut igroup = stored.clone();
    let key = text(stored, "uuid").unwrap_or_default();
    let initiators: Vec<Value> = state
        .entries("igroup_initiators", &format!("{key}/"))
        .map(|(_, own)| json!({"name": own["name"], "comment": own["comment"]}))
        .collect();
    if !initiators.is_empty() {
        igroup["initiators"] = json!(initiators);
    }
    let maps: Vec<Value> = state
        .list("lun_maps")
        .filter(|map| text(map, "igroup.uuid") == Some(key))
        .map(|map| json!({"lun": map["lun"], "logical_unit_number": map["logical_unit_number"]}))
        .collect();
    if !maps.is_empty() {
        igroup["lun_maps"] = json!(maps);
    }
    igroup
}

fn create(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    let svm = change.svm(&body)?;
    let name = checked_name(&body)?;
    if find_named(change.state, "igroups", &svm, &name).is_some() {
        return Err(Refusal::new(409, 5_374_023, format!("Igroup \"{name}\" already exists.")).at("name"));
    }
    let mut igroup = body;
    set_default(&mut igroup, "protocol", "mixed");
    for (field, known) in [("os_type", SYSTEMS), ("protocol", &["iscsi", "fcp", "mixed"][..])] {
        let value = text(&igroup, field).ok_or_else(|| refusal::missing(field))?;
        if !known.contains(&value) {
            return Err(refusal::invalid(field, value, &format!("<{}>", known.join("|"))));
        }
    }
    let initiators = remove(&mut igroup, "initiators");
    let uuid = change.new_uuid();
    merge(&mut igroup, json!({"uuid": uuid, "name": name, "svm": svm, "supports_igroups": true}));
    set_default(&mut igroup, "delete_on_unmap", false);
    change.state.put("igroups", &uuid, igroup);
    for initiator in initiators.as_ref().and_then(Value::as_array).into_iter().flatten() {
        add(change, &uuid, initiator)?;
    }
    Ok(uuid)
}

fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    let igroup = change.state.find("igroups", key).cloned().unwrap_or_default();
    if text(&body, "name").is_some() {
        let new = checked_name(&body)?;
        if find_named(change.state, "igroups", &igroup["svm"], &new).is_some_and(|own| own["uuid"] != key) {
            return Err(Refusal::new(409, 5_374_023, format!("Igroup \"{new}\" already exists.")).at("name"));
        }
        let maps: Vec<String> = change
            .state
            .entries("lun_maps", "")
            .filter(|(_, map)| text(map, "igroup.uuid") == Some(key))
            .map(|(map, _)| map.to_owned())
            .collect();
        for map in maps {
            change.state.change("lun_maps", &map, |map| map["igroup"]["name"] = json!(new));
        }
    }
    change.state.change("igroups", key, |igroup| merge(igroup, body));
    Ok(())
}

fn delete(change: &mut Change, key: &str) -> Result<()> {
    if is_mapped(change.state, key) {
        if !change.params.is_set("allow_delete_while_mapped") {
            let message = "The igroup is mapped to one or more LUNs.";
            return Err(Refusal::new(409, 1_254_213, message));
        }
        let maps: Vec<String> = change
            .state
            .entries("lun_maps", "")
            .filter(|(_, map)| text(map, "igroup.uuid") == Some(key))
            .map(|(map, _)| map.to_owned())
            .collect();
        for map in maps {
            change.state.remove("lun_maps", &map);
            change.state.remove_all("reporting_nodes", &format!("{map}/"));
        }
    }
    change.state.remove("igroups", key);
    change.state.remove_all("igroup_initiators", &format!("{key}/"));
    Ok(())
}

/// One initiator, or several as `records`.
fn add_initiator(change: &mut Change, parents: &[String], body: Value) -> Result<String> {
    let igroup = parents.first().cloned().unwrap_or_default();
    match body["records"].as_array() {
        None => add(change, &igroup, &body),
        Some(records) => {
            let mut last = Err(refusal::missing("records"));
            for record in records {
                last = Ok(add(change, &igroup, record)?);
            }
            last
        }
    }
}

fn add(change: &mut Change, igroup: &str, body: &Value) -> Result<String> {
    let name = text(body, "name").filter(|name| !name.is_empty()).ok_or_else(|| refusal::missing("name"))?;
    check_initiator(name)?;
    let owner = change.state.find("igroups", igroup).cloned().unwrap_or_default();
    let key = format!("{igroup}/{name}");
    if change.state.find("igroup_initiators", &key).is_some() {
        let message = format!("Initiator \"{name}\" is already in igroup {}.", owner["name"]);
        return Err(Refusal::new(409, 5_374_035, message).at("name"));
    }
    let count = change.state.entries("igroup_initiators", &format!("{igroup}/")).count();
    if count >= change.limits().initiators_per_igroup {
        let message =
            format!("Igroup {} has {count} initiators, which is the most it can have.", owner["name"]);
        return Err(Refusal::new(400, 5_374_038, message));
    }
    let mut initiator = json!({"name": name, "igroup": reference(&owner)});
    if let Some(comment) = text(body, "comment") {
        initiator["comment"] = json!(comment);
    }
    change.state.put("igroup_initiators", &key, initiator);
    Ok(key)
}

fn modify_initiator(change: &mut Change, key: &str, body: Value) -> Result<()> {
    change.state.change("igroup_initiators", key, |initiator| merge(initiator, body));
    Ok(())
}

fn delete_initiator(change: &mut Change, key: &str) -> Result<()> {
    let igroup = key.split_once('/').map_or(key, |(igroup, _)| igroup);
    if is_mapped(change.state, igroup) && !change.params.is_set("allow_delete_while_mapped") {
        let message = "The igroup of the initiator is mapped to one or more LUNs.";
        return Err(Refusal::new(409, 1_254_213, message));
    }
    change.state.remove("igroup_initiators", key);
    Ok(())
}

fn is_mapped(state: &State, key: &str) -> bool {
    state.list("lun_maps").any(|map| text(map, "igroup.uuid") == Some(key))
}

fn checked_name(body: &Value) -> Result<String> {
    let legal = |own: char| own.is_ascii_alphanumeric() || "-._:".contains(own);
    name(body, "name", 96, legal).map(str::to_owned)
}

/// An iSCSI name or a world-wide port name.
fn check_initiator(name: &str) -> Result<()> {
    let legal = |own: char| own.is_ascii_alphanumeric() || "-.:".contains(own);
    let iscsi = (name.starts_with("iqn.") && name.matches('.').count() >= 2) || name.starts_with("eui.");
    let plain = name.replace(':', "");
    let port = plain.len() == 16 && plain.chars().all(|own| own.is_ascii_hexdigit());
    if (iscsi && name.len() <= 223 && name.chars().all(legal)) || port {
        return Ok(());
    }
    let message = format!("\"{name}\" is neither an iSCSI initiator name nor a world-wide port name.");
    Err(Refusal::new(400, 5_374_029, message).at("name"))
}
