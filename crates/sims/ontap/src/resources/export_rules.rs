//! The rules of export policies, and the clients that they are for.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::record::{merge, set_default};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, Resource};
use crate::state::State;

pub(crate) static EXPORT_RULES: Resource = Resource {
    path: "protocols/nfs/export-policies/{policy.id}/rules",
    keys: &["index"],
    table: "export_rules",
    schema: "export_rule",
    shown: &[],
    order: &["policy.id", "index"],
    params: &["new_index"],
    post: Some(create),
    patch: Some(modify),
    delete: Some(delete),
    ..Resource::PLAIN
};

pub(crate) static EXPORT_CLIENTS: Resource = Resource {
    path: "protocols/nfs/export-policies/{policy.id}/rules/{index}/clients",
    keys: &["match"],
    table: "export_clients",
    schema: "export_client",
    shown: &[],
    post: Some(add_client),
    delete: Some(delete_client),
    ..Resource::PLAIN
};

const SECURITY: &[&str] = &["any", "none", "never", "krb5", "krb5i", "krb5p", "ntlm", "sys"];
const PROTOCOLS: &[&str] = &["any", "nfs", "nfs3", "nfs4", "cifs", "flexcache"];

/// The rules of a policy, in their order.
pub(crate) fn of_policy(state: &State, policy: u64) -> Vec<&Value> {
    let mut rules: Vec<&Value> =
        state.entries("export_rules", &format!("{policy}/")).map(|(_, rule)| rule).collect();
    rules.sort_by_key(|rule| rule["index"].as_u64());
    rules
}

/// A rule as its policy shows it.
pub(crate) fn within_policy(rule: &Value) -> Value {
    let mut rule = rule.clone();
    if let Some(fields) = rule.as_object_mut() {
        fields.remove("policy");
        fields.remove("svm");
    }
    rule
}

/// Adds a rule at the end, or at the index it asks for.
pub(crate) fn add(change: &mut Change, policy: u64, body: &Value) -> Result<String> {
    check(body)?;
    for field in ["clients", "ro_rule", "rw_rule"] {
        if body[field].as_array().is_none_or(Vec::is_empty) {
            return Err(refusal::missing(field));
        }
    }
    let owner = change.state.find("export_policies", &policy.to_string()).cloned().unwrap_or_default();
    let rules = of_policy(change.state, policy);
    let fits = |rule: &&&Value| rule["clients"] == body["clients"] && rule["protocols"] == *protocols(body);
    if let Some(same) = rules.iter().find(fits) {
        let message = format!("Rule {} of policy {} matches the same clients.", same["index"], owner["name"]);
        return Err(Refusal::new(409, 1_704_070, message).at("clients.match"));
    }
    let last = rules.last().and_then(|rule| rule["index"].as_u64()).unwrap_or(0);
    let index = body["index"].as_u64().unwrap_or(last + 1);
    let key = format!("{policy}/{index}");
    if change.state.find("export_rules", &key).is_some() {
        return Err(Refusal::new(409, 1_704_070, format!("Rule {index} exists.")).at("index"));
    }
    let mut rule = body.clone();
    rule["index"] = json!(index);
    rule["policy"] = json!({"id": owner["id"], "name": owner["name"]});
    rule["svm"] = owner["svm"].clone();
    set_default(&mut rule, "protocols", json!(["any"]));
    set_default(&mut rule, "superuser", json!(["none"]));
    set_default(&mut rule, "anonymous_user", "65534");
    set_default(&mut rule, "allow_suid", true);
    set_default(&mut rule, "allow_device_creation", true);
    set_default(&mut rule, "chown_mode", "restricted");
    set_default(&mut rule, "ntfs_unix_security", "fail");
    change.state.put("export_rules", &key, rule);
    rewrite_clients(change.state, &key);
    Ok(key)
}

fn create(change: &mut Change, parents: &[String], body: Value) -> Result<String> {
    let policy = parents.first().and_then(|id| id.parse().ok()).unwrap_or(0);
    add(change, policy, &body)
}

fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    check(&body)?;
    change.state.change("export_rules", key, |rule| merge(rule, body));
    rewrite_clients(change.state, key);
    if let Some(new) = change.params.extra("new_index") {
        let index: u64 = new.parse().map_err(|_| refusal::invalid("new_index", new, "<integer>"))?;
        let policy = key.split_once('/').map_or(key, |(policy, _)| policy);
        let moved = format!("{policy}/{index}");
        if moved != key {
            if change.state.find("export_rules", &moved).is_some() {
                return Err(Refusal::new(409, 1_704_070, format!("Rule {index} exists.")).at("new_index"));
            }
            let mut rule = change.state.remove("export_rules", key).unwrap_or_default();
            rule["index"] = json!(index);
            change.state.put("export_rules", &moved, rule);
            change.state.remove_all("export_clients", &format!("{key}/"));
            rewrite_clients(change.state, &moved);
        }
    }
    Ok(())
}

fn delete(change: &mut Change, key: &str) -> Result<()> {
    change.state.remove("export_rules", key);
    change.state.remove_all("export_clients", &format!("{key}/"));
    Ok(())
}

fn add_client(change: &mut Change, parents: &[String], body: Value) -> Result<String> {
    let rule = parents.join("/");
    let wanted = body["match"].as_str().ok_or_else(|| refusal::missing("match"))?;
    check_match(wanted)?;
    let clients =
        change.state.find("export_rules", &rule).ok_or_else(|| refusal::not_found(&rule))?["clients"].clone();
    let mut clients = clients.as_array().cloned().unwrap_or_default();
    if clients.iter().any(|client| client["match"] == wanted) {
        return Err(refusal::exists(wanted).at("match"));
    }
    clients.push(json!({"match": wanted}));
    change.state.change("export_rules", &rule, |rule| rule["clients"] = json!(clients));
    rewrite_clients(change.state, &rule);
    Ok(format!("{rule}/{wanted}"))
}

fn delete_client(change: &mut Change, key: &str) -> Result<()> {
    let mut parts = key.splitn(3, '/');
    let (policy, index) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (rule, wanted) = (format!("{policy}/{index}"), parts.next().unwrap_or_default());
    let clients =
        change.state.find("export_rules", &rule).map(|rule| rule["clients"].clone()).unwrap_or_default();
    let left: Vec<Value> = clients
        .as_array()
        .into_iter()
        .flatten()
        .filter(|client| client["match"] != wanted)
        .cloned()
        .collect();
    if left.is_empty() {
        return Err(Refusal::new(400, 1_704_049, "The last client match of a rule cannot be deleted."));
    }
    change.state.change("export_rules", &rule, |rule| rule["clients"] = json!(left));
    rewrite_clients(change.state, &rule);
    Ok(())
}

/// Keeps the collection of clients in step with the rule that holds them.
fn rewrite_clients(state: &mut State, rule: &str) {
    state.remove_all("export_clients", &format!("{rule}/"));
    let Some(record) = state.find("export_rules", rule).cloned() else { return };
    for client in record["clients"].as_array().into_iter().flatten() {
        let wanted = client["match"].as_str().unwrap_or_default();
        let client = json!({
            "match": wanted, "index": record["index"], "policy": {"id": record["policy"]["id"]}, "svm": record["svm"],
        });
        state.put("export_clients", &format!("{rule}/{wanted}"), client);
    }
}

fn protocols(body: &Value) -> std::borrow::Cow<'_, Value> {
    match body.get("protocols") {
        Some(protocols) => std::borrow::Cow::Borrowed(protocols),
        None => std::borrow::Cow::Owned(json!(["any"])),
    }
}

fn check(body: &Value) -> Result<()> {
    for client in body["clients"].as_array().into_iter().flatten() {
        check_match(client["match"].as_str().ok_or_else(|| refusal::missing("clients.match"))?)?;
    }
    for (field, known) in
        [("ro_rule", SECURITY), ("rw_rule", SECURITY), ("superuser", SECURITY), ("protocols", PROTOCOLS)]
    {
        for value in body[field].as_array().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            if !known.contains(&value) {
                return Err(refusal::invalid(field, value, &format!("<{}>", known.join("|"))));
            }
        }
    }
    Ok(())
}

/// An address, a network, a host name, `.domain` or `@netgroup`.
fn check_match(text: &str) -> Result<()> {
    let network = |(address, bits): (&str, &str)| match (address.parse::<IpAddr>(), bits.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(bits)) => bits <= 32,
        (Ok(IpAddr::V6(_)), Ok(bits)) => bits <= 128,
        (Ok(IpAddr::V4(_)), Err(_)) => bits.parse::<IpAddr>().is_ok_and(|mask| mask.is_ipv4()),
        _ => false,
    };
    let name = text.strip_prefix(['.', '@']).unwrap_or(text);
    let is_name = !name.is_empty()
        && name.chars().all(|character| character.is_ascii_alphanumeric() || "-._".contains(character));
    if text.parse::<IpAddr>().is_ok() || text.split_once('/').map_or(is_name, network) {
        return Ok(());
    }
    Err(Refusal::new(400, 1_704_036, format!("Invalid clientmatch: \"{text}\".")).at("clients.match"))
}
