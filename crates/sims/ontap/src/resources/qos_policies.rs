//! QoS policies: fixed limits, and limits that grow with the volume.

use serde_json::{Value, json};

use crate::record::{get, merge, set_default, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, Resource, find_named, name, reference};
use crate::state::State;

pub(crate) static QOS_POLICIES: Resource = Resource {
    path: "storage/qos/policies",
    table: "qos_policies",
    schema: "qos_policy",
    jobs: true,
    view,
    post: Some(create),
    patch: Some(modify),
    delete: Some(delete),
    ..Resource::PLAIN
};

/// The tables whose objects name a policy, and where.
const USERS: [(&str, &str); 5] = [
    ("volumes", "qos.policy"),
    ("luns", "qos_policy"),
    ("namespaces", "qos_policy"),
    ("qtrees", "qos_policy"),
    ("storage_units", "qos_policy"),
];

/// The policy that is wanted, as a reference; null for `none`.
pub(crate) fn named(state: &State, wanted: &Value, path: &str, svm: &Value) -> Result<Value> {
    let found = match (wanted["name"].as_str(), wanted["uuid"].as_str()) {
        (Some("none" | ""), _) => return Ok(Value::Null),
        (Some(name), _) => find_named(state, "qos_policies", svm, name),
        (None, Some(uuid)) => state.find("qos_policies", uuid),
        (None, None) => return Ok(Value::Null),
    };
    let policy = found.ok_or_else(|| {
        let message = format!("QoS policy {} does not exist.", wanted["name"]);
        Refusal::new(400, 8_454_260, message).at(&format!("{path}.name"))
    })?;
    Ok(reference(policy))
}

fn view(state: &State, stored: &Value) -> Value {
    let mut policy = stored.clone();
    policy["object_count"] = json!(users(state, &stored["uuid"]));
    policy
}

fn create(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    let svm = change.svm(&body)?;
    let name = name(&body, "name", 127, |own| own.is_ascii_alphanumeric() || "_-.".contains(own))?.to_owned();
    if find_named(change.state, "qos_policies", &svm, &name).is_some() {
        let message = format!("QoS policy \"{name}\" already exists.");
        return Err(Refusal::new(409, 8_454_154, message).at("name"));
    }
    let (fixed, adaptive) = (get(&body, "fixed").is_some(), get(&body, "adaptive").is_some());
    if fixed == adaptive {
        let message = "Exactly one of \"fixed\" and \"adaptive\" must be given.";
        return Err(Refusal::new(400, 8_454_273, message));
    }
    check(&body)?;
    let uuid = change.new_uuid();
    let mut policy = body;
    merge(
        &mut policy,
        json!({"uuid": uuid, "name": name, "svm": svm, "scope": "svm", "policy_class": "user_defined"}),
    );
    if fixed {
        set_default(&mut policy, "fixed.capacity_shared", false);
    } else {
        set_default(&mut policy, "adaptive.absolute_min_iops", 75);
    }
    let class = json!(change.state.next_number());
    policy["pgid"] = class;
    change.state.put("qos_policies", &uuid, policy);
    Ok(uuid)
}

fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    let policy = change.state.find("qos_policies", key).cloned().unwrap_or_default();
    for kind in ["fixed", "adaptive"] {
        if get(&body, kind).is_some() && get(&policy, kind).is_none() {
            let message = format!("Policy {} is not {kind}.", policy["name"]);
            return Err(Refusal::new(400, 8_454_274, message).at(kind));
        }
    }
    check(&body)?;
    if let Some(new) = text(&body, "name")
        && find_named(change.state, "qos_policies", &policy["svm"], new).is_some_and(|own| own["uuid"] != key)
    {
        return Err(Refusal::new(409, 8_454_277, format!("QoS policy \"{new}\" already exists.")).at("name"));
    }
    change.state.change("qos_policies", key, |policy| merge(policy, body));
    let policy = change.state.find("qos_policies", key).map(reference).unwrap_or_default();
    for (table, path) in USERS {
        let used = change
            .state
            .entries(table, "")
            .filter(|(_, own)| get(own, path).is_some_and(|own| own["uuid"] == key));
        for user in used.map(|(user, _)| user.to_owned()).collect::<Vec<_>>() {
            change.state.change(table, &user, |own| crate::record::set(own, path, policy.clone()));
        }
    }
    Ok(())
}

fn delete(change: &mut Change, key: &str) -> Result<()> {
    let policy = change.state.find("qos_policies", key).cloned().unwrap_or_default();
    let used = users(change.state, &policy["uuid"]);
    if used > 0 {
        let message = format!("QoS policy {} is in use by {used} objects.", policy["name"]);
        return Err(Refusal::new(409, 8_454_147, message));
    }
    change.state.remove("qos_policies", key);
    Ok(())
}

fn users(state: &State, uuid: &Value) -> usize {
    let of = |(table, path): &(&'static str, &'static str)| {
        state.list(table).filter(|own| get(own, path).is_some_and(|own| own["uuid"] == *uuid)).count()
    };
    USERS.iter().map(of).sum()
}

fn check(body: &Value) -> Result<()> {
    let limit = |path| get(body, path).and_then(Value::as_u64);
    for (low, high) in [
        ("fixed.min_throughput_iops", "fixed.max_throughput_iops"),
        ("fixed.min_throughput_mbps", "fixed.max_throughput_mbps"),
        ("adaptive.expected_iops", "adaptive.peak_iops"),
    ] {
        if let (Some(least), Some(most)) = (limit(low), limit(high))
            && least > most
            && most > 0
        {
            return Err(refusal::invalid(low, &least.to_string(), &format!("above \"{high}\"")));
        }
    }
    Ok(())
}
