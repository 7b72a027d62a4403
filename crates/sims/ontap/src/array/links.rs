//! HAL: where an object is, and where what it refers to is.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use crate::record;
use crate::resource::Resource;
use crate::resources;
use crate::rest::filter::shown;

/// What a key may not hold in a path.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'/').add(b'%').add(b'?').add(b'#').add(b':').add(b'"');

/// Adds the links of an object and of what it refers to.
pub(super) fn linked(resource: &Resource, mut record: Value) -> Value {
    let identity = resource.parents().chain(resource.keys.iter().copied());
    let keys: Option<Vec<String>> = identity.map(|path| record::get(&record, path).map(shown)).collect();
    let own = keys.filter(|_| resource.schema().has_links("")).map(|keys| location(resource, &keys));
    let Value::Object(fields) = &mut record else { return record };
    for (name, value) in fields.iter_mut() {
        link_references(resource, name, name, value);
    }
    if let Some(href) = own {
        fields.insert("_links".into(), json!({"self": {"href": href}}));
    }
    record
}

pub(super) fn job_link(job: &str) -> Value {
    json!({"uuid": job, "_links": {"self": {"href": format!("/api/cluster/jobs/{job}")}}})
}

/// Where the object with this key is.
pub(super) fn location_of_key(resource: &Resource, key: &str) -> String {
    let parts = resource.parents().count() + resource.keys.len();
    let keys: Vec<String> = key.splitn(parts.max(1), '/').take(parts).map(str::to_owned).collect();
    location(resource, &keys)
}

fn location(resource: &Resource, keys: &[String]) -> String {
    let mut keys = keys.iter().map(|key| utf8_percent_encode(key, ESCAPED).to_string());
    let mut location = String::from("/api");
    for part in resource.path.split('/') {
        let part = if part.starts_with('{') { keys.next().unwrap_or_default() } else { part.to_owned() };
        location.push_str(&format!("/{part}"));
    }
    for key in keys {
        location.push_str(&format!("/{key}"));
    }
    location
}

fn link_references(resource: &Resource, path: &str, name: &str, value: &mut Value) {
    match value {
        Value::Array(values) => {
            values.iter_mut().for_each(|value| link_references(resource, path, name, value));
        }
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                link_references(resource, &format!("{path}.{name}"), name, value);
            }
            let collection = resources::referred(name);
            let key = fields.get("uuid").or_else(|| fields.get("id")).map(shown);
            if let (Some(collection), Some(key), true) = (collection, key, resource.schema().has_links(path))
            {
                let href = format!("/api/{collection}/{}", utf8_percent_encode(&key, ESCAPED));
                fields.insert("_links".into(), json!({"self": {"href": href}}));
            }
        }
        _ => {}
    }
}
