//! Quota rules: how much a qtree, a user or a group may hold in a volume.
//!
//! A rule counts once the quotas of its volume are turned on after it was made. What is changed while they are on
//! counts at once where a rule of the same kind counts already; otherwise quotas must be turned off and on.

use serde_json::{Value, json};

use super::qtrees;
use crate::record::{get, merge, number, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, Resource, reference};
use crate::state::State;

pub(crate) static QUOTA_RULES: Resource = Resource {
    path: "storage/quota/rules",
    table: "quota_rules",
    schema: "quota_rule",
    shown: &["volume.name", "svm"],
    jobs: true,
    post: Some(create),
    patch: Some(modify),
    delete: Some(delete),
    ..Resource::PLAIN
};

pub(crate) static QUOTA_REPORTS: Resource = Resource {
    path: "storage/quota/reports",
    keys: &["volume.uuid", "index"],
    table: "quota_reports",
    schema: "quota_report",
    shown: &["volume.name", "svm"],
    ..Resource::PLAIN
};

/// The rules of a volume count from now on, or no longer.
pub(crate) fn activate(state: &mut State, volume: &str, on: bool) {
    let keys: Vec<String> = of_volume(state, volume).map(|(key, _)| key.to_owned()).collect();
    for key in keys {
        state.change("quota_rules", &key, |rule| rule["_active"] = json!(on));
    }
    report(state, volume);
}

/// A qtree has a new name: its rules follow.
pub(crate) fn follow_rename(state: &mut State, volume: &str, id: &Value, new: &str) {
    for key in of_qtree(state, volume, id) {
        state.change("quota_rules", &key, |rule| rule["qtree"]["name"] = json!(new));
    }
    report(state, volume);
}

/// A qtree is gone: so are its rules.
pub(crate) fn forget_qtree(state: &mut State, volume: &str, id: &Value) {
    for key in of_qtree(state, volume, id) {
        state.remove("quota_rules", &key);
    }
    report(state, volume);
}

fn create(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    let svm = change.svm(&body)?;
    let (volume, record) = change.volume(&body, "volume", &svm)?;
    let kind = text(&body, "type").ok_or_else(|| refusal::missing("type"))?.to_owned();
    if !matches!(kind.as_str(), "tree" | "user" | "group") {
        return Err(refusal::invalid("type", &kind, "<tree|user|group>"));
    }
    check_limits(&body)?;
    let mut rule = body;
    let qtree = wanted_qtree(change.state, &rule, &volume)?;
    if kind == "tree" && qtree.is_none() && get(&rule, "qtree").is_none() {
        let message = "A rule of type \"tree\" needs \"qtree.name\" or \"qtree.id\".";
        return Err(Refusal::new(400, 5_308_507, message).at("qtree"));
    }
    rule["qtree"] = qtree.unwrap_or_else(|| json!({"name": ""}));
    let same = |other: &Value| {
        other["type"] == rule["type"]
            && other["qtree"] == rule["qtree"]
            && other["users"] == rule["users"]
            && other["group"] == rule["group"]
    };
    if of_volume(change.state, &volume).any(|(_, other)| same(other)) {
        let message = format!("A quota rule for this target already exists on volume {}.", record["name"]);
        return Err(Refusal::new(409, 5_308_568, message));
    }
    // What counts by a default rule already is limited anew without quotas being turned off.
    let active = record["quota"]["state"] == "on"
        && of_volume(change.state, &volume)
            .any(|(_, other)| other["type"] == rule["type"] && other["_active"] == true);
    let uuid = change.new_uuid();
    merge(&mut rule, json!({"uuid": uuid, "svm": svm, "volume": reference(&record), "_active": active}));
    change.state.put("quota_rules", &uuid, rule);
    report(change.state, &volume);
    Ok(uuid)
}

fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    for field in body.as_object().into_iter().flatten().map(|(field, _)| field) {
        if !matches!(field.as_str(), "space" | "files" | "user_mapping") {
            return Err(refusal::read_only(field));
        }
    }
    check_limits(&body)?;
    let rule = change.state.find("quota_rules", key).cloned().unwrap_or_default();
    change.state.change("quota_rules", key, |rule| merge(rule, body));
    report(change.state, text(&rule, "volume.uuid").unwrap_or_default());
    Ok(())
}

fn delete(change: &mut Change, key: &str) -> Result<()> {
    if let Some(rule) = change.state.remove("quota_rules", key) {
        report(change.state, text(&rule, "volume.uuid").unwrap_or_default());
    }
    Ok(())
}

/// The qtree that a rule is for; none for the default rule of all qtrees.
fn wanted_qtree(state: &State, body: &Value, volume: &str) -> Result<Option<Value>> {
    let (name, id) = (text(body, "qtree.name"), number(body, "qtree.id"));
    let found = match (name, id) {
        (None | Some(""), None) => return Ok(None),
        (_, Some(id)) => state.find("qtrees", &format!("{volume}/{id}")),
        (Some(name), None) => qtrees::find(state, volume, name),
    };
    let qtree = found.ok_or_else(|| {
        let message = format!("Qtree \"{}\" was not found.", name.unwrap_or_default());
        Refusal::new(404, 5_242_927, message).at("qtree.name")
    })?;
    Ok(Some(json!({"name": qtree["name"], "id": qtree["id"]})))
}

/// A limit is a number of bytes, or -1 for none; a soft one is not above a hard one.
fn check_limits(body: &Value) -> Result<()> {
    for (hard, soft) in [("space.hard_limit", "space.soft_limit"), ("files.hard_limit", "files.soft_limit")] {
        let limit = |path| get(body, path).and_then(Value::as_i64);
        for path in [hard, soft] {
            if let Some(value) = limit(path).filter(|value| *value < -1) {
                return Err(refusal::invalid(
                    path,
                    &value.to_string(),
                    "a limit is not negative; -1 is none",
                ));
            }
        }
        if let (Some(most), Some(warned)) = (limit(hard), limit(soft))
            && most >= 0
            && warned > most
        {
            let message = format!("\"{soft}\" is above \"{hard}\".");
            return Err(Refusal::new(400, 5_308_501, message).at(soft));
        }
    }
    Ok(())
}

/// Writes the report of a volume anew: one entry for each rule that counts.
fn report(state: &mut State, volume: &str) {
    state.remove_all("quota_reports", &format!("{volume}/"));
    let on = state.find("volumes", volume).is_some_and(|volume| volume["quota"]["state"] == "on");
    let active: Vec<Value> = of_volume(state, volume)
        .filter(|(_, rule)| on && rule["_active"] == true)
        .map(|(_, rule)| rule.clone())
        .collect();
    for (index, rule) in active.into_iter().enumerate() {
        let mut entry = json!({
            "index": index, "type": rule["type"], "svm": rule["svm"], "volume": rule["volume"], "qtree": rule["qtree"],
            "space": {"used": {"total": 0}}, "files": {"used": {"total": 0}},
        });
        let limit = number(&rule, "space.hard_limit");
        if let Some(limit) = limit {
            entry["space"]["hard_limit"] = json!(limit);
        }
        state.put("quota_reports", &format!("{volume}/{index}"), entry);
    }
}

fn of_volume<'a>(state: &'a State, volume: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    state.entries("quota_rules", "").filter(move |(_, rule)| text(rule, "volume.uuid") == Some(volume))
}

fn of_qtree(state: &State, volume: &str, id: &Value) -> Vec<String> {
    of_volume(state, volume)
        .filter(|(_, rule)| rule["qtree"]["id"] == *id)
        .map(|(key, _)| key.to_owned())
        .collect()
}
