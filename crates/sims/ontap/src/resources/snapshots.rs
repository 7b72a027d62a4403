//! Snapshots of volumes.

use serde_json::{Value, json};

use super::volumes::content;
use crate::record::{merge, number, set_default, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, Resource, name, reference};
use crate::state::State;

pub(crate) static SNAPSHOTS: Resource = Resource {
    path: "storage/volumes/{volume.uuid}/snapshots",
    table: "snapshots",
    schema: "snapshot",
    order: &["volume.uuid", "create_time", "_order"],
    jobs: true,
    view,
    post: Some(create),
    patch: Some(modify),
    delete: Some(delete),
    ..Resource::PLAIN
};

/// Takes a snapshot of what the volume holds now, and returns its key.
pub(crate) fn take(change: &mut Change, volume: &str, body: &Value) -> Result<String> {
    let record = change.state.find("volumes", volume).cloned().unwrap_or_default();
    if record["state"] != "online" {
        return Err(Refusal::new(400, 524_623, format!("Volume {} is not online.", record["name"])));
    }
    let name = name(body, "name", 255, |character| !character.is_control() && character != '/')?.to_owned();
    if find(change.state, volume, &name).is_some() {
        let message = format!("Snapshot \"{name}\" already exists on volume {}.", record["name"]);
        return Err(Refusal::new(409, 1, message).at("name"));
    }
    let count = change.state.entries("snapshots", &format!("{volume}/")).count();
    if count >= change.limits().snapshots_per_volume {
        let message =
            format!("Volume {} has {count} snapshots, which is the most it can have.", record["name"]);
        return Err(Refusal::new(400, 1_638_480, message));
    }
    let uuid = change.new_uuid();
    let version = change.new_uuid();
    let order = change.state.next_number();
    let mut snapshot = body.clone();
    merge(
        &mut snapshot,
        json!({
            "uuid": uuid, "name": name, "version_uuid": version, "create_time": change.time(), "state": "valid",
            "volume": reference(&record), "svm": record["svm"], "_order": order,
            "_content": content::of_volume(change.state, volume),
        }),
    );
    set_default(&mut snapshot, "size", 0);
    let key = format!("{volume}/{uuid}");
    change.state.put("snapshots", &key, snapshot);
    Ok(key)
}

/// The snapshot of a volume with this name.
pub(crate) fn find<'a>(state: &'a State, volume: &str, name: &str) -> Option<(&'a str, &'a Value)> {
    state.entries("snapshots", &format!("{volume}/")).find(|(_, snapshot)| snapshot["name"] == name)
}

/// Whether something stands on a snapshot: a clone, one that waits in the recovery queue, or a mirror.
pub(crate) fn is_busy(state: &State, snapshot: &Value) -> bool {
    let volume = text(snapshot, "volume.uuid").unwrap_or_default();
    state.entries("_clones", &format!("{volume}/")).any(|(_, clone)| clone["snapshot"] == snapshot["uuid"])
}

fn view(state: &State, stored: &Value) -> Value {
    let mut snapshot = stored.clone();
    snapshot["logical_size"] = json!(number(stored, "_content.used").unwrap_or(0));
    if is_busy(state, stored) {
        snapshot["owners"] = json!(["volume_clone"]);
    }
    snapshot
}

fn create(change: &mut Change, parents: &[String], body: Value) -> Result<String> {
    let volume = parents.first().cloned().unwrap_or_default();
    take(change, &volume, &body)
}

fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    let volume = key.split_once('/').map_or(key, |(volume, _)| volume);
    if let Some(new) = text(&body, "name")
        && find(change.state, volume, new).is_some_and(|(taken, _)| taken != key)
    {
        return Err(refusal::exists(&format!("snapshot \"{new}\"")).at("name"));
    }
    change.state.change("snapshots", key, |snapshot| merge(snapshot, body));
    Ok(())
}

fn delete(change: &mut Change, key: &str) -> Result<()> {
    let snapshot = change.state.find("snapshots", key).cloned().unwrap_or_default();
    if is_busy(change.state, &snapshot) {
        let message = format!(
            "Snapshot {} of volume {} on SVM {} is busy because of vclone.",
            snapshot["name"], snapshot["volume"]["name"], snapshot["svm"]["name"]
        );
        return Err(Refusal::new(409, 1_638_555, message));
    }
    change.state.remove("snapshots", key);
    Ok(())
}
