//! NVMe subsystems and the hosts that they let in.

use serde_json::{Value, json};

use crate::record::{merge, remove, set_default, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, Resource, find_named, name, reference};
use crate::state::State;

pub(crate) static NVME_SUBSYSTEMS: Resource = Resource {
    path: "protocols/nvme/subsystems",
    table: "nvme_subsystems",
    schema: "nvme_subsystem",
    params: &["allow_delete_while_mapped", "allow_delete_with_hosts"],
    view,
    post: Some(create),
    patch: Some(modify),
    delete: Some(delete),
    ..Resource::PLAIN
};

pub(crate) static NVME_HOSTS: Resource = Resource {
    path: "protocols/nvme/subsystems/{subsystem.uuid}/hosts",
    keys: &["nqn"],
    table: "nvme_hosts",
    schema: "nvme_host",
    shown: &[],
    post: Some(add_host),
    delete: Some(delete_host),
    ..Resource::PLAIN
};

fn view(state: &State, stored: &Value) -> Value {
    let mut subsystem = stored.clone();
    let key = text(stored, "uuid").unwrap_or_default();
    let hosts: Vec<Value> = state
        .entries("nvme_hosts", &format!("{key}/"))
        .map(|(_, host)| json!({"nqn": host["nqn"]}))
        .collect();
    if !hosts.is_empty() {
        subsystem["hosts"] = json!(hosts);
    }
    let maps: Vec<Value> = state
        .entries("nvme_maps", &format!("{key}/"))
        .map(|(_, map)| json!({"namespace": reference(&map["namespace"]), "nsid": map["nsid"]}))
        .collect();
    if !maps.is_empty() {
        subsystem["subsystem_maps"] = json!(maps);
    }
    subsystem
}

fn create(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    let svm = change.svm(&body)?;
    let legal = |own: char| own.is_ascii_alphanumeric() || "-._:".contains(own);
    let name = name(&body, "name", 64, legal)?.to_owned();
    if !change.state.list("nvme_services").any(|service| service["svm"]["uuid"] == svm["uuid"]) {
        return Err(Refusal::new(400, 72_090_029, format!("SVM {} has no NVMe service.", svm["name"])));
    }
    if find_named(change.state, "nvme_subsystems", &svm, &name).is_some() {
        let message = format!("NVMe subsystem \"{name}\" already exists.");
        return Err(Refusal::new(409, 72_090_025, message).at("name"));
    }
    let system = text(&body, "os_type").ok_or_else(|| refusal::missing("os_type"))?;
    if !["aix", "linux", "vmware", "windows"].contains(&system) {
        return Err(refusal::invalid("os_type", system, "<aix|linux|vmware|windows>"));
    }
    let uuid = change.new_uuid();
    let mut subsystem = body;
    let hosts = remove(&mut subsystem, "hosts");
    let sn = text(&svm, "uuid").unwrap_or_default().replace('-', "");
    merge(
        &mut subsystem,
        json!({
            "uuid": uuid, "name": name, "svm": svm, "serial_number": format!("w{}", &uuid.replace('-', "")[..19]),
            "target_nqn": format!("nqn.1992-08.com.netapp:sn.{sn}:subsystem.{name}"),
        }),
    );
    set_default(&mut subsystem, "delete_on_unmap", false);
    change.state.put("nvme_subsystems", &uuid, subsystem);
    for host in hosts.as_ref().and_then(Value::as_array).into_iter().flatten() {
        add(change, &uuid, host)?;
    }
    Ok(uuid)
}

fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    change.state.change("nvme_subsystems", key, |subsystem| merge(subsystem, body));
    Ok(())
}

fn delete(change: &mut Change, key: &str) -> Result<()> {
    let prefix = format!("{key}/");
    let mapped = change.state.entries("nvme_maps", &prefix).next().is_some();
    if mapped && !change.params.is_set("allow_delete_while_mapped") {
        return Err(Refusal::new(409, 72_090_017, "The NVMe subsystem has mapped namespaces."));
    }
    let hosts = change.state.entries("nvme_hosts", &prefix).next().is_some();
    if hosts && !change.params.is_set("allow_delete_with_hosts") {
        return Err(Refusal::new(409, 72_090_007, "The NVMe subsystem has hosts."));
    }
    change.state.remove("nvme_subsystems", key);
    change.state.remove_all("nvme_maps", &prefix);
    change.state.remove_all("nvme_hosts", &prefix);
    Ok(())
}

/// One host, or several as `records`.
fn add_host(change: &mut Change, parents: &[String], body: Value) -> Result<String> {
    let subsystem = parents.first().cloned().unwrap_or_default();
    match body["records"].as_array() {
        None => add(change, &subsystem, &body),
        Some(records) => {
            let mut last = Err(refusal::missing("records"));
            for record in records {
                last = Ok(add(change, &subsystem, record)?);
            }
            last
        }
    }
}

fn add(change: &mut Change, subsystem: &str, body: &Value) -> Result<String> {
    let nqn = text(body, "nqn").ok_or_else(|| refusal::missing("nqn"))?;
    if !nqn.starts_with("nqn.") || nqn.len() > 223 || !nqn.contains(':') {
        return Err(Refusal::new(400, 72_089_705, format!("\"{nqn}\" is no NVMe qualified name.")).at("nqn"));
    }
    let owner = change.state.find("nvme_subsystems", subsystem).cloned().unwrap_or_default();
    let key = format!("{subsystem}/{nqn}");
    if change.state.find("nvme_hosts", &key).is_some() {
        let message = format!("Host \"{nqn}\" is already in subsystem {}.", owner["name"]);
        return Err(Refusal::new(409, 72_089_709, message).at("nqn"));
    }
    let count = change.state.entries("nvme_hosts", &format!("{subsystem}/")).count();
    if count >= change.limits().hosts_per_subsystem {
        let message =
            format!("Subsystem {} has {count} hosts, which is the most it can have.", owner["name"]);
        return Err(Refusal::new(400, 72_089_710, message));
    }
    let priority = text(body, "priority").unwrap_or("regular");
    let host = json!({
        "nqn": nqn, "subsystem": reference(&owner), "priority": priority, "io_queue": {"count": 4, "depth": 32},
    });
    change.state.put("nvme_hosts", &key, host);
    Ok(key)
}

fn delete_host(change: &mut Change, key: &str) -> Result<()> {
    change.state.remove("nvme_hosts", key);
    Ok(())
}
