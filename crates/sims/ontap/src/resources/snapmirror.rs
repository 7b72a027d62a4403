//! SnapMirror between volumes of this cluster: a relationship, its transfers, and the policies they follow.

use serde_json::{Value, json};

use super::snapshots;
use super::volumes::content;
use crate::record::{flag, get, merge, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, Resource, find_named, reference};

pub(crate) static POLICIES: Resource = Resource {
    path: "snapmirror/policies",
    table: "snapmirror_policies",
    schema: "snapmirror_policy",
    ..Resource::PLAIN
};

pub(crate) static RELATIONSHIPS: Resource = Resource {
    path: "snapmirror/relationships",
    table: "snapmirror_relationships",
    schema: "snapmirror_relationship",
    shown: &["source.path", "destination.path"],
    svm: Some("destination.svm.uuid"),
    jobs: true,
    params: &["list_destinations_only", "destination_only", "source_only", "source_info_only"],
    post: Some(create),
    patch: Some(modify),
    delete: Some(delete),
    ..Resource::PLAIN
};

pub(crate) static TRANSFERS: Resource = Resource {
    path: "snapmirror/relationships/{relationship.uuid}/transfers",
    table: "snapmirror_transfers",
    schema: "snapmirror_transfer",
    shown: &["state"],
    svm: Some("_svm"),
    post: Some(transfer),
    ..Resource::PLAIN
};

fn create(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    if flag(&body, "create_destination.enabled") {
        let message = "This simulator makes no destination volume: create one of type \"dp\" first.";
        return Err(Refusal::new(400, 3, message).at("create_destination"));
    }
    let source = side(change, &body, "source.path")?;
    let destination = side(change, &body, "destination.path")?;
    if destination["type"] != "dp" {
        let message = format!("The destination volume {} is not of type \"dp\".", destination["name"]);
        return Err(Refusal::new(400, 13_303_834, message).at("destination.path"));
    }
    let path = text(&body, "destination.path").unwrap_or_default().to_owned();
    let taken = change.state.list("snapmirror_relationships").any(|own| own["destination"]["path"] == path);
    if taken {
        let message = format!("A relationship to \"{path}\" already exists.");
        return Err(Refusal::new(409, 13_303_825, message).at("destination.path"));
    }
    let (from, to) = (&source["svm"], &destination["svm"]);
    let is_peered =
        |own: &Value| own["svm"]["uuid"] == from["uuid"] && own["peer"]["svm"]["uuid"] == to["uuid"];
    if from["uuid"] != to["uuid"] && !change.state.list("svm_peers").any(is_peered) {
        let message = format!("SVM {} is no peer of SVM {}.", from["name"], to["name"]);
        return Err(Refusal::new(400, 13_303_848, message));
    }
    let wanted = text(&body, "policy.name").unwrap_or("MirrorAllSnapshots");
    let policy = change.state.find_by("snapmirror_policies", "name", wanted);
    let policy =
        policy.map(|(_, own)| json!({"name": own["name"], "uuid": own["uuid"], "type": own["type"]}));
    let policy = policy.ok_or_else(|| {
        Refusal::new(400, 13_303_841, format!("SnapMirror policy \"{wanted}\" does not exist."))
            .at("policy.name")
    })?;
    let mut relationship = json!({
        "state": "uninitialized", "healthy": true, "policy": policy,
        "source": {"path": body["source"]["path"], "svm": from},
        "destination": {"path": path, "svm": to},
        "_source": source["uuid"], "_destination": destination["uuid"],
    });
    if let Some(schedule) = text(&body, "transfer_schedule.name") {
        let found = change.state.find_by("schedules", "name", schedule).map(|(_, own)| reference(own));
        let found = found.ok_or_else(|| refusal::not_found(schedule).at("transfer_schedule.name"))?;
        relationship["transfer_schedule"] = found;
    }
    let uuid = change.new_uuid();
    relationship["uuid"] = json!(uuid);
    change.state.put("snapmirror_relationships", &uuid, relationship);
    if let Some(state) = text(&body, "state").filter(|state| *state != "uninitialized") {
        set_state(change, &uuid, state)?;
    }
    Ok(uuid)
}

fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    for field in body.as_object().into_iter().flatten().map(|(field, _)| field) {
        if !matches!(field.as_str(), "state" | "policy" | "transfer_schedule" | "restore_to_snapshot") {
            return Err(refusal::read_only(field));
        }
    }
    if let Some(state) = text(&body, "state") {
        set_state(change, key, state)?;
    }
    let mut rest = json!({});
    for field in ["policy", "transfer_schedule"] {
        if let Some(value) = get(&body, field) {
            rest[field] = value.clone();
        }
    }
    change.state.change("snapmirror_relationships", key, |relationship| merge(relationship, rest));
    Ok(())
}

fn set_state(change: &mut Change, key: &str, wanted: &str) -> Result<()> {
    let relationship = change.state.find("snapmirror_relationships", key).cloned().unwrap_or_default();
    let now = text(&relationship, "state").unwrap_or_default();
    let kind = text(&relationship, "policy.type").unwrap_or_default();
    match (now, wanted) {
        (now, wanted) if now == wanted => return Ok(()),
        ("uninitialized" | "broken_off" | "paused", "snapmirrored") if kind != "sync" => run(change, key)?,
        ("uninitialized" | "broken_off" | "paused", "in_sync") if kind == "sync" => run(change, key)?,
        ("snapmirrored" | "in_sync", "paused") => {}
        ("uninitialized", "broken_off") => {
            let message = "The destination volume is not initialized.";
            return Err(Refusal::new(400, 917_536, message).at("state"));
        }
        (_, "broken_off") => {
            let destination = text(&relationship, "_destination").unwrap_or_default();
            change.state.change("volumes", destination, |volume| volume["type"] = json!("rw"));
        }
        (now, wanted) => {
            let why = format!("a relationship that is {now} cannot become so");
            return Err(refusal::invalid("state", wanted, &why));
        }
    }
    let wanted = json!(wanted);
    change.state.change("snapmirror_relationships", key, |relationship| relationship["state"] = wanted);
    Ok(())
}

fn delete(change: &mut Change, key: &str) -> Result<()> {
    change.state.remove("snapmirror_relationships", key);
    change.state.remove_all("snapmirror_transfers", &format!("{key}/"));
    Ok(())
}

fn transfer(change: &mut Change, parents: &[String], _: Value) -> Result<String> {
    let key = parents.first().cloned().unwrap_or_default();
    let relationship = change.state.find("snapmirror_relationships", &key).cloned().unwrap_or_default();
    let state = text(&relationship, "state").unwrap_or_default();
    if !matches!(state, "uninitialized" | "snapmirrored" | "in_sync") {
        let message = format!("The relationship is {state}: nothing is transferred.");
        return Err(Refusal::new(400, 13_303_812, message));
    }
    run(change, &key)?;
    let reached = if relationship["policy"]["type"] == "sync" { "in_sync" } else { "snapmirrored" };
    let kind = if state == "uninitialized" { "initialize" } else { "update" };
    change.state.change("snapmirror_relationships", &key, |relationship| {
        relationship["state"] = json!(reached);
        relationship["last_transfer_type"] = json!(kind);
    });
    let uuid = change.new_uuid();
    let transfer = json!({
        "uuid": uuid, "state": "success", "bytes_transferred": 0, "end_time": change.time(),
        "relationship": {"uuid": key, "destination": {"path": relationship["destination"]["path"]}},
    });
    let transfer_key = format!("{key}/{uuid}");
    change.state.put("snapmirror_transfers", &transfer_key, transfer);
    Ok(transfer_key)
}

/// Brings what the source holds to the destination, by a snapshot of its own.
fn run(change: &mut Change, key: &str) -> Result<()> {
    let relationship = change.state.find("snapmirror_relationships", key).cloned().unwrap_or_default();
    let source = text(&relationship, "_source").unwrap_or_default();
    let destination = text(&relationship, "_destination").unwrap_or_default();
    if change.state.find("volumes", source).is_none() || change.state.find("volumes", destination).is_none() {
        return Err(Refusal::new(400, 917_927, "A volume of the relationship was not found."));
    }
    let name = format!("snapmirror.{key}.{}", change.state.next_number());
    let taken = snapshots::take(change, source, &json!({"name": name}))?;
    let snapshot = change.state.find("snapshots", &taken).cloned().unwrap_or_default();
    content::restore(change, &json!({"_content": {"used": snapshot["_content"]["used"]}}), destination);
    let size = snapshot["_content"]["size"].clone();
    change.state.change("volumes", destination, |volume| {
        volume["type"] = json!("dp");
        volume["size"] = size;
    });
    content::copy_into(change, &snapshot, destination);
    snapshots::take(change, destination, &json!({"name": name}))?;
    Ok(())
}

/// The volume at one end: `SVM:VOLUME`.
fn side(change: &Change, body: &Value, path: &str) -> Result<Value> {
    let text = text(body, path).ok_or_else(|| refusal::missing(path))?;
    let (svm, volume) = text.split_once(':').ok_or_else(|| refusal::invalid(path, text, "SVM:VOLUME"))?;
    let svm = change.state.find_by("svms", "name", svm).map(|(_, own)| own);
    let found = svm.and_then(|svm| find_named(change.state, "volumes", &reference(svm), volume));
    found
        .cloned()
        .ok_or_else(|| Refusal::new(404, 917_927, format!("Volume \"{text}\" was not found.")).at(path))
}
