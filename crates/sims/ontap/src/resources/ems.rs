//! EMS: what applications report about themselves, and the events that come of it.

use serde_json::{Value, json};

use crate::refusal::{self, Result};
use crate::resource::{Change, Resource};

pub(crate) static APPLICATION_LOGS: Resource = Resource {
    path: "support/ems/application-logs",
    keys: &[],
    table: "ems_logs",
    schema: "ems_application_log",
    shown: &[],
    post: Some(report),
    ..Resource::PLAIN
};

pub(crate) static EVENTS: Resource = Resource {
    path: "support/ems/events",
    keys: &["node.uuid", "index"],
    table: "ems_events",
    schema: "ems_event",
    shown: &["message.name"],
    svm: None,
    ..Resource::PLAIN
};

const SEVERITIES: &[&str] = &["emergency", "alert", "error", "notice", "informational", "debug"];

fn report(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    let severity = body["severity"].as_str().unwrap_or("notice");
    if !SEVERITIES.contains(&severity) {
        return Err(refusal::invalid("severity", severity, &format!("<{}>", SEVERITIES.join("|"))));
    }
    let index = change.state.next_number();
    let node =
        change.state.list("nodes").next().map(|node| json!({"name": node["name"], "uuid": node["uuid"]}));
    let node = node.unwrap_or_default();
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    let event = json!({
        "index": index, "node": node, "time": change.time(), "source": text("event_source"),
        "message": {"name": format!("app.log.{severity}"), "severity": severity},
        "log_message": format!(
            "{} {}: ({}) {}", text("computer_name"), text("event_source"), text("category"), text("event_description")
        ),
    });
    let key = format!("{}/{index}", node["uuid"].as_str().unwrap_or_default());
    change.state.put("ems_events", &key, event);
    change.state.put("ems_logs", "last", body);
    Ok("last".into())
}
