//! Qtrees, and whether quotas of a volume are on.

use serde_json::{Value, json};

use super::export_policies;
use crate::record::{get, merge, remove, set_default, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, Resource, reference};
use crate::resources::qos_policies;
use crate::state::State;

pub(crate) static QTREES: Resource = Resource {
    path: "storage/qtrees",
    // The volume's UUID is part of the key: it stands in the path after the collection.
    keys: &["volume.uuid", "id"],
    table: "qtrees",
    schema: "qtree",
    shown: &["name", "volume.name", "svm"],
    order: &["volume.name", "id"],
    jobs: true,
    view,
    post: Some(create),
    patch: Some(modify),
    delete: Some(delete),
    ..Resource::PLAIN
};

/// Every volume has a qtree 0 without a name, which is the volume itself.
pub(crate) fn add_root(state: &mut State, volume: &str) {
    let record = state.find("volumes", volume).cloned().unwrap_or_default();
    let nas = &record["nas"];
    let qtree = json!({
        "id": 0, "name": "", "svm": record["svm"], "volume": reference(&record),
        "security_style": nas["security_style"], "unix_permissions": nas["unix_permissions"],
        "export_policy": nas["export_policy"],
    });
    state.put("qtrees", &format!("{volume}/0"), qtree);
}

/// The qtree of a volume with this name.
pub(crate) fn find<'a>(state: &'a State, volume: &str, name: &str) -> Option<&'a Value> {
    state.entries("qtrees", &format!("{volume}/")).map(|(_, qtree)| qtree).find(|qtree| qtree["name"] == name)
}

/// Turns the quotas of a volume on or off. What rules say then counts, or no longer.
pub(crate) fn set_quota(change: &mut Change, volume: &str, on: bool) -> Result<()> {
    let record = change.state.find("volumes", volume).cloned().unwrap_or_default();
    let has_rules = change.state.list("quota_rules").any(|rule| text(rule, "volume.uuid") == Some(volume));
    if on && !has_rules {
        let message =
            format!("Quotas of volume {} cannot be turned on: it has no quota rules.", record["name"]);
        return Err(Refusal::new(400, 5_308_567, message).at("quota.enabled"));
    }
    let state = if on { "on" } else { "off" };
    change.state.change("volumes", volume, |volume| volume["quota"] = json!({"enabled": on, "state": state}));
    super::quota_rules::activate(change.state, volume, on);
    Ok(())
}

fn view(state: &State, stored: &Value) -> Value {
    let mut qtree = stored.clone();
    let volume = text(stored, "volume.uuid").and_then(|uuid| state.find("volumes", uuid));
    let junction = volume.and_then(|volume| text(volume, "nas.path"));
    if let Some(junction) = junction {
        let path = format!("{}/{}", junction.trim_end_matches('/'), text(stored, "name").unwrap_or_default());
        let path = path.trim_end_matches('/');
        qtree["path"] = json!(path);
        merge(&mut qtree, json!({"nas": {"path": path}}));
    }
    if stored["id"] == 0
        && let Some(volume) = volume
    {
        // Qtree 0 is the volume itself.
        let nas = &volume["nas"];
        qtree["export_policy"] = nas["export_policy"].clone();
        qtree["unix_permissions"] = nas["unix_permissions"].clone();
        qtree["security_style"] = nas["security_style"].clone();
    }
    qtree
}

fn create(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    let svm = change.svm(&body)?;
    let (volume, record) = change.volume(&body, "volume", &svm)?;
    let name = checked_name(&body)?.to_owned();
    if record["state"] != "online" {
        return Err(Refusal::new(400, 5_242_951, format!("Volume {} is not online.", record["name"])));
    }
    if find(change.state, &volume, &name).is_some() {
        let message = format!("Qtree \"{name}\" already exists on volume {}.", record["name"]);
        return Err(Refusal::new(409, 5_242_956, message).at("name"));
    }
    let prefix = format!("{volume}/");
    // Qtree 0 is not counted: it is the volume.
    let count = change.state.entries("qtrees", &prefix).count().saturating_sub(1);
    if count >= change.limits().qtrees_per_volume {
        let message = format!("Volume {} has {count} qtrees, which is the most it can have.", record["name"]);
        return Err(Refusal::new(400, 5_242_960, message));
    }
    let taken: Vec<u64> =
        change.state.entries("qtrees", &prefix).filter_map(|(_, own)| own["id"].as_u64()).collect();
    let id = (1..).find(|id| !taken.contains(id)).unwrap_or(1);
    let policy = export_policies::named(change.state, &body, "export_policy", &svm)?;
    let limit = match get(&body, "qos_policy") {
        Some(wanted) => Some(qos_policies::named(change.state, wanted, "qos_policy", &svm)?),
        None => None,
    };
    let mut qtree = body;
    for path in ["svm", "volume", "export_policy", "qos_policy"] {
        remove(&mut qtree, path);
    }
    let number = change.state.next_number();
    merge(
        &mut qtree,
        json!({"id": id, "name": name, "svm": svm, "volume": reference(&record), "_number": number}),
    );
    qtree["export_policy"] = policy.unwrap_or_else(|| record["nas"]["export_policy"].clone());
    if let Some(limit) = limit.filter(|limit| !limit.is_null()) {
        qtree["qos_policy"] = limit;
    }
    set_default(&mut qtree, "security_style", record["nas"]["security_style"].clone());
    set_default(&mut qtree, "unix_permissions", record["nas"]["unix_permissions"].clone());
    let key = format!("{volume}/{id}");
    change.state.put("qtrees", &key, qtree);
    Ok(key)
}

fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    let qtree = change.state.find("qtrees", key).cloned().unwrap_or_default();
    let volume = key.split_once('/').map_or(key, |(volume, _)| volume);
    let mut rest = body;
    if text(&rest, "name").is_some_and(|new| qtree["name"] != new) {
        if qtree["id"] == 0 {
            return Err(Refusal::new(400, 5_242_958, "The default qtree cannot be renamed.").at("name"));
        }
        let new = checked_name(&rest)?.to_owned();
        if find(change.state, volume, &new).is_some() {
            return Err(Refusal::new(409, 5_242_956, format!("Qtree \"{new}\" already exists.")).at("name"));
        }
        super::quota_rules::follow_rename(change.state, volume, &qtree["id"], &new);
    }
    let policy = export_policies::named(change.state, &rest, "export_policy", &qtree["svm"])?;
    let limit = match remove(&mut rest, "qos_policy") {
        Some(wanted) => Some(qos_policies::named(change.state, &wanted, "qos_policy", &qtree["svm"])?),
        None => None,
    };
    for path in ["export_policy", "volume", "svm"] {
        remove(&mut rest, path);
    }
    change.state.change("qtrees", key, |qtree| {
        merge(qtree, rest);
        if let Some(policy) = policy {
            qtree["export_policy"] = policy;
        }
        match limit {
            Some(Value::Null) => drop(remove(qtree, "qos_policy")),
            Some(limit) => qtree["qos_policy"] = limit,
            None => {}
        }
    });
    Ok(())
}

/// Deletes the qtree with all that is in it, and with the quota rules that are for it.
fn delete(change: &mut Change, key: &str) -> Result<()> {
    let qtree = change.state.find("qtrees", key).cloned().unwrap_or_default();
    if qtree["id"] == 0 {
        return Err(Refusal::new(400, 5_242_957, "The default qtree cannot be deleted."));
    }
    let volume = key.split_once('/').map_or(key, |(volume, _)| volume);
    super::quota_rules::forget_qtree(change.state, volume, &qtree["id"]);
    change.state.remove("qtrees", key);
    Ok(())
}

fn checked_name(body: &Value) -> Result<&str> {
    let name = text(body, "name").filter(|name| !name.is_empty());
    let name = name
        .ok_or_else(|| Refusal::new(400, 5_242_953, "The name of the qtree must be provided.").at("name"))?;
    let legal = |character: char| !character.is_control() && !"/\\:*?\"<>|,".contains(character);
    if name.len() > 64 || !name.chars().all(legal) || name == "." || name == ".." {
        return Err(refusal::invalid("name", name, "at most 64 legal characters"));
    }
    Ok(name)
}
