//! `POST /storage/volumes`.

use serde_json::{Value, json};

use super::{
    check_choices, check_junction, check_name, check_unique, clone, junction_parent, qos, snapshot_policy,
    space,
};
use crate::record::{flag, get, merge, number, remove, set, set_default, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::Change;
use crate::resources::export_policies;

pub(super) fn create(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    let svm = change.svm(&body)?;
    let name = text(&body, "name").ok_or_else(|| refusal::missing("name"))?.to_owned();
    check_name(&name)?;
    check_unique(change.state, &svm, &name)?;
    check_choices(&body)?;
    if let Some(path) = text(&body, "nas.path").filter(|path| !path.is_empty()) {
        check_junction(change.state, &svm, path, "")?;
    }
    if flag(&body, "clone.is_flexclone") {
        return clone::create(change, body, &svm);
    }
    let mut volume = body;
    check_choice_of_style(&volume)?;
    let style = text(&volume, "style").unwrap_or("flexvol").to_owned();
    let flexgroup = style == "flexgroup";
    let size = number(&volume, "size").or_else(|| number(&volume, "space.size")).unwrap_or(20_971_520);
    let aggregates = aggregates(change, &volume, &svm, flexgroup)?;
    let per_aggregate =
        number(&volume, "constituents_per_aggregate").unwrap_or(if flexgroup { 4 } else { 1 });
    let parts = aggregates.len() as u64 * per_aggregate;
    check_size(change, size, flexgroup.then_some(parts))?;
    check_count(change)?;
    set_default(&mut volume, "guarantee.type", "volume");
    if volume["guarantee"]["type"] == "volume" {
        space::check_room(change, &aggregates, size)?;
    }
    let export_policy = match export_policies::named(change.state, &volume, "nas.export_policy", &svm)? {
        Some(policy) => Some(policy),
        None => {
            let default = json!({"nas": {"export_policy": {"name": "default"}}});
            export_policies::named(change.state, &default, "nas.export_policy", &svm).unwrap_or_default()
        }
    };
    let policy = match snapshot_policy(change, &volume)? {
        Some(policy) => Some(policy),
        None => snapshot_policy(change, &json!({"snapshot_policy": {"name": "default"}})).unwrap_or_default(),
    };
    let limit = qos(change, &volume, "qos.policy", &svm)?;
    let uuid = change.new_uuid();
    for path in ["svm", "aggregates", "clone", "qos", "space.size", "nas.export_policy", "snapshot_policy"] {
        remove(&mut volume, path);
    }
    merge(
        &mut volume,
        json!({
            "uuid": uuid, "name": name, "svm": svm, "size": size, "style": style, "aggregates": aggregates,
            "create_time": change.time(), "_used": 0, "clone": {"is_flexclone": false},
        }),
    );
    if flexgroup {
        volume["constituent_count"] = json!(parts);
        remove(&mut volume, "constituents_per_aggregate");
    }
    if let Some(policy) = policy {
        volume["snapshot_policy"] = policy;
    }
    if let Some(policy) = export_policy {
        set(&mut volume, "nas.export_policy", policy);
    }
    if let Some(limit) = limit.filter(|limit| !limit.is_null()) {
        set(&mut volume, "qos.policy", limit);
    }
    let reserve = if volume["snapshot_policy"]["name"] == "none" { 0 } else { 5 };
    set_default(&mut volume, "space.snapshot.reserve_percent", reserve);
    for (path, value) in [
        ("type", json!("rw")),
        ("state", json!("online")),
        ("language", json!("c.utf_8")),
        ("comment", json!("")),
        ("encryption.enabled", json!(false)),
        ("tiering.policy", json!("none")),
        ("autosize.mode", json!("off")),
        ("snapshot_directory_access_enabled", json!(true)),
        ("guarantee.honored", json!(true)),
        ("nas.security_style", json!("unix")),
        ("nas.unix_permissions", json!(755)),
        ("nas.uid", json!(0)),
        ("nas.gid", json!(0)),
        ("quota.state", json!("off")),
        ("is_svm_root", json!(false)),
        ("files.used", json!(101)),
        ("files.maximum", json!((size / 33_600).min(31_876_696))),
    ] {
        set_default(&mut volume, path, value);
    }
    place_in_namespace(change, &mut volume);
    change.state.put("volumes", &uuid, volume);
    super::super::qtrees::add_root(change.state, &uuid);
    Ok(uuid)
}

/// What a junction brings with it; an empty path is none.
pub(super) fn place_in_namespace(change: &Change, volume: &mut Value) {
    let path = text(volume, "nas.path").filter(|path| !path.is_empty()).map(str::to_owned);
    remove(volume, "nas.junction_parent");
    match path {
        Some(path) => {
            let parent = junction_parent(change.state, &volume["svm"], &path);
            set(volume, "nas.junction_parent", parent);
        }
        None => drop(remove(volume, "nas.path")),
    }
}

/// Refuses a size that no volume can have; `parts` are the constituents of a FlexGroup.
pub(super) fn check_size(change: &Change, size: u64, parts: Option<u64>) -> Result<()> {
    let limits = change.limits();
    let smallest = parts.map_or(limits.smallest_volume, |parts| parts * limits.smallest_constituent);
    if size < smallest {
        let message = format!("Size {size} is too small. The minimum size of this volume is {smallest}.");
        return Err(Refusal::new(400, 917_534, message).at("size"));
    }
    if size > limits.largest_volume.saturating_mul(parts.unwrap_or(1)) {
        let message = format!("Size {size} is too large. The maximum size is {}.", limits.largest_volume);
        return Err(Refusal::new(400, 917_535, message).at("size"));
    }
    Ok(())
}

pub(super) fn check_count(change: &Change) -> Result<()> {
    let most = change.limits().volumes_per_node * change.state.count("nodes");
    if change.state.count("volumes") >= most {
        let message = format!("The cluster has {most} volumes, which is the most its nodes can have.");
        return Err(Refusal::new(400, 917_838, message));
    }
    Ok(())
}

fn check_choice_of_style(body: &Value) -> Result<()> {
    super::check_choice(body, "style", &["flexvol", "flexgroup"])?;
    super::check_choice(body, "type", &["rw", "dp"])
}

/// The aggregates that a body names, each of them the SVM's; a FlexGroup may leave the choice to the array.
fn aggregates(change: &Change, body: &Value, svm: &Value, flexgroup: bool) -> Result<Vec<Value>> {
    let named = body["aggregates"].as_array().cloned().unwrap_or_default();
    let own = get(
        change.state.find("svms", svm["uuid"].as_str().unwrap_or_default()).unwrap_or(&Value::Null),
        "aggregates",
    )
    .and_then(Value::as_array)
    .cloned()
    .unwrap_or_default();
    if named.is_empty() {
        if flexgroup {
            return Ok(own);
        }
        // A disaggregated system chooses by itself: here, where the most is free.
        let disaggregated = change.state.list("cluster").any(|cluster| cluster["disaggregated"] == true);
        let emptiest = own.iter().max_by_key(|own| space::free_of_aggregate(change.state, own));
        if let Some(emptiest) = emptiest.filter(|_| disaggregated) {
            return Ok(vec![emptiest.clone()]);
        }
        let message = "One of \"aggregates.uuid\", \"aggregates.name\", or \"style\" must be provided.";
        return Err(Refusal::new(400, 787_140, message).at("aggregates"));
    }
    if named.len() > 1 && !flexgroup {
        let message = "A FlexVol volume lies on one aggregate: specify \"style\" as \"flexgroup\" for more.";
        return Err(Refusal::new(400, 787_142, message).at("aggregates"));
    }
    let mut found = Vec::new();
    for wanted in named {
        let aggregate = match (wanted["name"].as_str(), wanted["uuid"].as_str()) {
            (_, Some(uuid)) => change.state.find("aggregates", uuid),
            (Some(name), None) => change.state.find_by("aggregates", "name", name).map(|(_, own)| own),
            (None, None) => None,
        };
        let aggregate = aggregate.ok_or_else(|| {
            let message = format!("Aggregate {wanted} does not exist.");
            Refusal::new(400, 787_139, message).at("aggregates.name")
        })?;
        if wanted["name"].as_str().is_some_and(|name| aggregate["name"] != name) {
            let message =
                "The specified \"aggregates.name\" and \"aggregates.uuid\" refer to different aggregates.";
            return Err(Refusal::new(400, 787_141, message).at("aggregates"));
        }
        if !own.iter().any(|own| own["uuid"] == aggregate["uuid"]) {
            let message = format!("Aggregate {} is not assigned to SVM {}.", aggregate["name"], svm["name"]);
            return Err(Refusal::new(400, 918_248, message).at("aggregates.name"));
        }
        found.push(json!({"name": aggregate["name"], "uuid": aggregate["uuid"]}));
    }
    Ok(found)
}
