//! Network interfaces: the addresses that data and management are reached at.

use serde_json::Value;

use crate::record::{get, merge};
use crate::refusal::{self, Result};
use crate::resource::{Change, Resource};

pub(crate) static INTERFACES: Resource = Resource {
    path: "network/ip/interfaces",
    table: "interfaces",
    schema: "interface",
    patch: Some(modify),
    ..Resource::PLAIN
};

fn modify(change: &mut Change, key: &str, body: Value) -> Result<()> {
    for field in body.as_object().into_iter().flatten().map(|(field, _)| field) {
        if field != "enabled" {
            return Err(refusal::read_only(field));
        }
    }
    let enabled = get(&body, "enabled").and_then(Value::as_bool).unwrap_or(true);
    change.state.change("interfaces", key, |interface| {
        merge(interface, body);
        interface["state"] = if enabled { "up" } else { "down" }.into();
    });
    Ok(())
}
