//! Export policies: who may mount what.

use serde_json::{Value, json};

use super::export_rules;
use crate::record::{get, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, Resource, find_named, name};
use crate::state::State;

pub(crate) static EXPORT_POLICIES: Resource = Resource {
    path: "protocols/nfs/export-policies",
    keys: &["id"],
    table: "export_policies",
    schema: "export_policy",
    order: &["id"],
    view,
    post: Some(create),
    patch: Some(modify),
    delete: Some(delete),
    ..Resource::PLAIN
};

/// The policy that a body names at `path`, of this SVM: `{"name", "id"}`.
pub(crate) fn named(state: &State, body: &Value, path: &str, svm: &Value) -> Result<Option<Value>> {
    let Some(wanted) = get(body, path) else { return Ok(None) };
    let found = match (wanted["name"].as_str(), wanted["id"].as_u64()) {
        (Some(name), _) => find_named(state, "export_policies", svm, name),
        (None, Some(id)) => state
            .find("export_policies", &id.to_string())
            .filter(|policy| policy["svm"]["uuid"] == svm["uuid"]),
        (None, None) => return Err(refusal::missing(&format!("{path}.name"))),
    };
    let policy = found.ok_or_else(|| {
        let message = format!("Export policy {wanted} does not exist.");
        Refusal::new(404, 1_703_954, message).at(&format!("{path}.name"))
    })?;
    Ok(Some(json!({"name": policy["name"], "id": policy["id"]})))
}

fn view(state: &State, stored: &Value) -> Value {
    let mut policy = stored.clone();
    let rules = export_rules::of_policy(state, stored["id"].as_u64().unwrap_or(0));
    if !rules.is_empty() {
        policy["rules"] = rules.into_iter().map(export_rules::within_policy).collect();
    }
    policy
}

fn create(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    let svm = change.svm(&body)?;
    let name = name(&body, "name", 256, is_legal)?.to_owned();
    if find_named(change.state, "export_policies", &svm, &name).is_some() {
        return Err(refusal::exists(&format!("export policy \"{name}\"")).at("name"));
    }
    // ONTAP numbers policies so that the SVM can be told from the number.
    let id = 12_884_901_889 + change.state.next_number();
    change.state.put("export_policies", &id.to_string(), json!({"id": id, "name": name, "svm": svm}));
    for rule in body["rules"].as_array().into_iter().flatten() {
        export_rules::add(change, id, rule)?;
    }
    Ok(id.to_string())
}

fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    let policy = change.state.find("export_policies", key).cloned().unwrap_or_default();
    if let Some(new) = text(&body, "name") {
        let new = name(&body, "name", 256, is_legal).map(|_| new.to_owned())?;
        let taken = find_named(change.state, "export_policies", &policy["svm"], &new);
        if taken.is_some_and(|taken| taken["id"] != policy["id"]) {
            return Err(refusal::exists(&format!("export policy \"{new}\"")).at("name"));
        }
        rename_in_use(change.state, &policy["id"], &new);
        change.state.change("export_policies", key, |policy| policy["name"] = json!(new));
    }
    if let Some(rules) = body["rules"].as_array() {
        change.state.remove_all("export_rules", &format!("{key}/"));
        for rule in rules {
            export_rules::add(change, policy["id"].as_u64().unwrap_or(0), rule)?;
        }
    }
    Ok(())
}

fn delete(change: &mut Change, key: &str) -> Result<()> {
    let policy = change.state.find("export_policies", key).cloned().unwrap_or_default();
    if policy["name"] == "default" {
        let message = "The \"default\" export policy cannot be deleted.";
        return Err(Refusal::new(409, 1_703_944, message));
    }
    let user =
        change.state.list("volumes").find(|volume| volume["nas"]["export_policy"]["id"] == policy["id"]);
    if let Some(volume) = user {
        let message = format!("Export policy {} is in use by volume {}.", policy["name"], volume["name"]);
        return Err(Refusal::new(409, 1_703_945, message));
    }
    if let Some(qtree) = change
        .state
        .list("qtrees")
        .find(|qtree| qtree["export_policy"]["id"] == policy["id"] && qtree["id"] != 0)
    {
        let message = format!("Export policy {} is in use by qtree {}.", policy["name"], qtree["name"]);
        return Err(Refusal::new(409, 1_703_946, message));
    }
    change.state.remove_all("export_rules", &format!("{key}/"));
    change.state.remove("export_policies", key);
    Ok(())
}

/// Volumes and qtrees know their policy by its number; the name they show follows.
fn rename_in_use(state: &mut State, id: &Value, new: &str) {
    for (table, path) in [("volumes", "nas.export_policy"), ("qtrees", "export_policy")] {
        let users =
            state.entries(table, "").filter(|(_, user)| get(user, path).is_some_and(|own| own["id"] == *id));
        for key in users.map(|(key, _)| key.to_owned()).collect::<Vec<_>>() {
            state.change(table, &key, |user| crate::record::set(user, &format!("{path}.name"), new));
        }
    }
}

fn is_legal(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_-.".contains(character)
}
