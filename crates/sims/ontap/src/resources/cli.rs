//! The few commands of the private CLI that clients use: the recovery queue, and what kind of array this is.

use serde_json::{Value, json};
use sim_kit::{Call, Reply};

use super::volumes;
use crate::record::text;
use crate::refusal::{self, Result};
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
