//! SVMs: the virtual arrays that hold everything else.

use serde_json::{Value, json};

use crate::record::{get, merge};
use crate::refusal::{self, Result};
use crate::resource::{Change, Resource};
use crate::resources::volumes::space;
use crate::state::State;

pub(crate) static SVMS: Resource = Resource {
    path: "svm/svms",
    table: "svms",
    schema: "svm",
    svm: Some("uuid"),
    jobs: true,
    view,
    patch: Some(modify),
    ..Resource::PLAIN
};

fn view(state: &State, stored: &Value) -> Value {
    let mut svm = stored.clone();
    for aggregate in svm["aggregates"].as_array_mut().into_iter().flatten() {
        aggregate["available_size"] = json!(space::free_of_aggregate(state, aggregate));
    }
    svm
}

fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    for field in body.as_object().into_iter().flatten().map(|(field, _)| field) {
        if !matches!(field.as_str(), "state" | "comment" | "aggregates" | "name") {
            return Err(refusal::read_only(field));
        }
    }
    if let Some(state) = get(&body, "state")
        && !matches!(state.as_str(), Some("running" | "stopped"))
    {
        return Err(refusal::invalid("state", &state.to_string(), "<running|stopped>"));
    }
    let mut body = body;
    if let Some(named) = body["aggregates"].as_array().cloned() {
        let mut aggregates = Vec::new();
        for wanted in named {
            let name = wanted["name"].as_str().unwrap_or_default();
            let found = change.state.find_by("aggregates", "name", name);
            let (_, aggregate) = found.ok_or_else(|| refusal::not_found(name))?;
            aggregates.push(json!({"name": name, "uuid": aggregate["uuid"]}));
        }
        body["aggregates"] = json!(aggregates);
    }
    change.state.change("svms", key, |svm| merge(svm, body));
    Ok(())
}
