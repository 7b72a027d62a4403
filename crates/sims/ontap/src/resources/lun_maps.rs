//! Which igroup sees which LUN, and through which nodes.

use serde_json::{Value, json};

use super::block_paths as paths;
use crate::record::{number, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, Resource, reference};
use crate::state::State;

pub(crate) static LUN_MAPS: Resource = Resource {
    path: "protocols/san/lun-maps",
    keys: &["lun.uuid", "igroup.uuid"],
    table: "lun_maps",
    schema: "lun_map",
    shown: &["lun.name", "igroup.name", "svm"],
    view,
    post: Some(create),
    delete: Some(delete),
    ..Resource::PLAIN
};

pub(crate) static REPORTING_NODES: Resource = Resource {
    path: "protocols/san/lun-maps/{lun.uuid}/{igroup.uuid}/reporting-nodes",
    table: "reporting_nodes",
    schema: "lun_map_reporting_node",
    post: Some(add_node),
    delete: Some(delete_node),
    ..Resource::PLAIN
};

/// A LUN has a new name: its maps follow.
pub(crate) fn rename(state: &mut State, lun: &str, name: &Value) {
    let keys: Vec<String> =
        state.entries("lun_maps", &format!("{lun}/")).map(|(key, _)| key.to_owned()).collect();
    for key in keys {
        state.change("lun_maps", &key, |map| map["lun"]["name"] = name.clone());
    }
}

fn view(state: &State, stored: &Value) -> Value {
    let mut map = stored.clone();
    let igroup = text(stored, "igroup.uuid").unwrap_or_default();
    if let Some(igroup) = state.find("igroups", igroup) {
        let initiators: Vec<&Value> = state
            .entries("igroup_initiators", &format!("{}/", text(igroup, "uuid").unwrap_or_default()))
            .map(|(_, initiator)| &initiator["name"])
            .collect();
        map["igroup"] = json!({
            "name": igroup["name"], "uuid": igroup["uuid"], "os_type": igroup["os_type"],
            "protocol": igroup["protocol"], "initiators": initiators,
        });
    }
    let key = format!("{}/{igroup}/", text(stored, "lun.uuid").unwrap_or_default());
    map["reporting_nodes"] =
        state.entries("reporting_nodes", &key).map(|(_, node)| reference(node)).collect();
    map
}

fn create(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    let svm = change.svm(&body)?;
    let lun = paths::named(change, "luns", &body, "lun", &svm, 5_374_876)?;
    let igroup = paths::named(change, "igroups", &body, "igroup", &svm, 5_374_852)?;
    let (lun_key, igroup_key) =
        (text(&lun, "uuid").unwrap_or_default(), text(&igroup, "uuid").unwrap_or_default());
    let key = format!("{lun_key}/{igroup_key}");
    if change.state.find("lun_maps", &key).is_some() {
        let message = format!("LUN {} is already mapped to igroup {}.", lun["name"], igroup["name"]);
        return Err(Refusal::new(409, 5_374_922, message));
    }
    check_initiators(change, &lun, &igroup)?;
    let of_igroup = change.state.list("lun_maps").filter(|map| map["igroup"]["uuid"] == igroup["uuid"]);
    let mut taken: Vec<u64> = of_igroup.filter_map(|map| number(map, "logical_unit_number")).collect();
    let most = change.limits().luns_per_igroup;
    if taken.len() >= most {
        let message = format!("Igroup {} has {most} LUNs, which is the most it can have.", igroup["name"]);
        return Err(Refusal::new(400, 5_374_925, message));
    }
    taken.sort_unstable();
    let unit = match number(&body, "logical_unit_number") {
        None => (0..).find(|unit| taken.binary_search(unit).is_err()).unwrap_or(0),
        Some(unit) if unit > 4095 => {
            return Err(refusal::invalid("logical_unit_number", &unit.to_string(), "<integer 0..4095>"));
        }
        Some(unit) if taken.contains(&unit) => {
            let message = format!("LUN number {unit} is taken in igroup {}.", igroup["name"]);
            return Err(Refusal::new(409, 5_374_923, message).at("logical_unit_number"));
        }
        Some(unit) => unit,
    };
    let map = json!({
        "lun": {"name": lun["name"], "uuid": lun["uuid"], "node": lun["location"]["node"]},
        "igroup": reference(&igroup), "svm": svm, "logical_unit_number": unit,
    });
    change.state.put("lun_maps", &key, map);
    // Paths go through the LUN's node and its partner.
    let nodes: Vec<Value> = change.state.list("nodes").take(2).map(reference).collect();
    for node in nodes {
        put_node(change.state, &key, &node);
    }
    Ok(key)
}

/// An initiator that sees a LUN by one igroup cannot see it by another.
fn check_initiators(change: &Change, lun: &Value, igroup: &Value) -> Result<()> {
    let of = |igroup: &Value| -> Vec<&str> {
        let prefix = format!("{}/", text(igroup, "uuid").unwrap_or_default());
        change.state.entries("igroup_initiators", &prefix).filter_map(|(_, own)| text(own, "name")).collect()
    };
    let wanted = of(igroup);
    let prefix = format!("{}/", text(lun, "uuid").unwrap_or_default());
    for (_, map) in change.state.entries("lun_maps", &prefix) {
        if let Some(both) = of(&map["igroup"]).into_iter().find(|initiator| wanted.contains(initiator)) {
            let message = format!(
                "LUN {} is already mapped to initiator \"{both}\" by igroup {}.",
                lun["name"], map["igroup"]["name"]
            );
            return Err(Refusal::new(409, 5_374_924, message));
        }
    }
    Ok(())
}

fn delete(change: &mut Change, key: &str) -> Result<()> {
    change.state.remove("lun_maps", key);
    change.state.remove_all("reporting_nodes", &format!("{key}/"));
    let igroup = key.rsplit_once('/').map_or(key, |(_, igroup)| igroup);
    super::igroups::delete_if_unmapped(change.state, igroup);
    Ok(())
}

fn add_node(change: &mut Change, parents: &[String], body: Value) -> Result<String> {
    let map = parents.join("/");
    if change.state.find("lun_maps", &map).is_none() {
        return Err(refusal::not_found(&map));
    }
    let found = match (text(&body, "uuid"), text(&body, "name")) {
        (Some(uuid), _) => change.state.find("nodes", uuid),
        (None, Some(name)) => change.state.find_by("nodes", "name", name).map(|(_, node)| node),
        (None, None) => return Err(refusal::missing("name")),
    };
    let node = found.map(reference).ok_or_else(|| refusal::not_found("node"))?;
    Ok(put_node(change.state, &map, &node))
}

fn delete_node(change: &mut Change, key: &str) -> Result<()> {
    change.state.remove("reporting_nodes", key);
    Ok(())
}

fn put_node(state: &mut State, map: &str, node: &Value) -> String {
    let uuid = text(node, "uuid").unwrap_or_default();
    let (lun, igroup) = map.split_once('/').unwrap_or((map, ""));
    let key = format!("{map}/{uuid}");
    let record = json!({
        "name": node["name"], "uuid": uuid, "lun": {"uuid": lun}, "igroup": {"uuid": igroup},
    });
    state.put("reporting_nodes", &key, record);
    key
}
