//! The few commands of the private CLI that clients and people use: the recovery queue, what kind of array this is, and
//! the fail-over of a node.

use serde_json::{Value, json};
use sim_kit::{Call, Reply};

use super::volumes;
use crate::record::text;
use crate::refusal::{self, Refusal, Result};
use crate::resource::reference;
use crate::rest::filter::Filter;
use crate::rest::params::decode;
use crate::state::State;

const QUEUE: &str = "volume/recovery-queue";

/// Answers a call to the private CLI; none when it is no such call.
pub(crate) fn answer(state: &mut State, call: &Call, scope: Option<&str>) -> Result<Option<Reply>> {
    let Some(command) = call.path.strip_prefix("/api/private/cli/") else { return Ok(None) };
    let body = match (call.method.as_str(), command.trim_end_matches('/')) {
        ("GET", QUEUE) => list(state, call, scope)?,
        ("POST", "volume/recovery-queue/purge") => purge(state, call, scope)?,
        ("POST", "storage/failover/takeover") => takeover(state, call)?,
        ("POST", "storage/failover/giveback") => giveback(state, call)?,
        ("GET", "debug/smdb/table/OntapPersonality" | "debug/smdb/table/OntapMode") => {
            let asa = state.list("cluster").next().is_some_and(|cluster| cluster["san_optimized"] == true);
            json!({"records": [{"ASA_R2": asa, "ASA_NEXT": asa, "ASA_ANY": asa}], "num_records": 1})
        }
        _ => return Err(refusal::url()),
    };
    Ok(Some(Reply::json(200, "application/hal+json", &body)))
}

fn list(state: &State, call: &Call, scope: Option<&str>) -> Result<Value> {
    let mut filters = Vec::new();
    for pair in call.query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "vserver" | "volume" => filters.push(Filter::parse(name, &decode(value)?)),
            "fields" | "return_timeout" | "max_records" => {}
            _ => return Err(refusal::unexpected(name)),
        }
    }
    let visible = |queued: &&Value| scope.is_none_or(|scope| text(queued, "svm.uuid") == Some(scope));
    let shown = |queued: &Value| json!({"vserver": queued["svm"]["name"], "volume": queued["name"], "deletion_request_time": queued["_deleted"]});
    let all = state.list("_recovery_queue").filter(visible).map(shown);
    let records: Vec<Value> = all.filter(|record| filters.iter().all(|filter| filter.fits(record))).collect();
    Ok(json!({"num_records": records.len(), "records": records}))
}

fn purge(state: &mut State, call: &Call, scope: Option<&str>) -> Result<Value> {
    let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let (svm, volume) = (text(&body, "vserver"), text(&body, "volume"));
    let (Some(svm), Some(volume)) = (svm, volume) else { return Err(refusal::missing("vserver")) };
    let found = state.entries("_recovery_queue", "").find(|(_, queued)| {
        queued["svm"]["name"] == svm
            && queued["name"] == volume
            && scope.is_none_or(|scope| text(queued, "svm.uuid") == Some(scope))
    });
    let parent = |queued: &Value| text(queued, "clone.parent_volume.uuid").unwrap_or_default().to_owned();
    let found = found.map(|(key, queued)| (key.to_owned(), parent(queued)));
    let (key, parent) = found.ok_or_else(|| refusal::not_found(&format!("volume \"{volume}\"")))?;
    volumes::purge(state, &key, &parent);
    Ok(json!({"num_records": 1, "cli_output": ""}))
}

/// The partner takes over a node: its aggregates and interfaces for files move there, those for blocks go down.
fn takeover(state: &mut State, call: &Call) -> Result<Value> {
    let node = node_of(state, call)?;
    let partner = state.list("nodes").find(|other| other["name"] != node["name"] && other["state"] == "up");
    let Some(partner) = partner.map(reference) else {
        let message = format!("Node {} has no partner that is up.", node["name"]);
        return Err(Refusal::new(409, 13_172_736, message).at("ofnode"));
    };
    state
        .change("nodes", text(&node, "uuid").unwrap_or_default(), |node| node["state"] = json!("taken_over"));
    for key in homed(state, "aggregates", "home_node", &node) {
        state.change("aggregates", &key, |aggregate| aggregate["node"] = partner.clone());
    }
    for key in homed(state, "interfaces", "location.home_node", &node) {
        state.change("interfaces", &key, |interface| {
            let services = interface["services"].as_array().into_iter().flatten();
            if services.into_iter().any(|service| service == "data_nfs") {
                interface["location"]["node"] = partner.clone();
                interface["location"]["is_home"] = json!(false);
            } else {
                interface["state"] = json!("down");
            }
        });
    }
    Ok(json!({"num_records": 1, "cli_output": ""}))
}

/// A node gets back what is its own.
fn giveback(state: &mut State, call: &Call) -> Result<Value> {
    let node = node_of(state, call)?;
    let home = reference(&node);
    state.change("nodes", text(&node, "uuid").unwrap_or_default(), |node| node["state"] = json!("up"));
    for key in homed(state, "aggregates", "home_node", &node) {
        state.change("aggregates", &key, |aggregate| aggregate["node"] = home.clone());
    }
    for key in homed(state, "interfaces", "location.home_node", &node) {
        state.change("interfaces", &key, |interface| {
            interface["location"]["node"] = home.clone();
            interface["location"]["is_home"] = json!(true);
            interface["state"] = if interface["enabled"] == true { "up" } else { "down" }.into();
        });
    }
    Ok(json!({"num_records": 1, "cli_output": ""}))
}

fn node_of(state: &State, call: &Call) -> Result<Value> {
    let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    let name = text(&body, "ofnode").ok_or_else(|| refusal::missing("ofnode"))?;
    let node = state.find_by("nodes", "name", name).map(|(_, node)| node.clone());
    node.ok_or_else(|| refusal::not_found(&format!("node \"{name}\"")))
}

/// The keys of what has its home on a node.
fn homed(state: &State, table: &str, path: &str, node: &Value) -> Vec<String> {
    let home = format!("{path}.uuid");
    let own = state.entries(table, "").filter(|(_, own)| text(own, &home) == text(node, "uuid"));
    own.map(|(key, _)| key.to_owned()).collect()
}
