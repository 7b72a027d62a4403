use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::kind_of;
use crate::ClassCreate;

const POOL_LISTS: [&str; 4] =
    ["storagePools", "additionalStoragePools", "excludeStoragePools", "requiredStorage"];
const OURS: [&str; 3] = ["name", "parameters", "mountOptions"];
/// Annotations of a StorageClass that say what a parameter could, and win over it.
const ANNOTATIONS: [&str; 2] = ["selector", "additionalStoragePools"];
const PREFIXES: [&str; 2] = ["trident.netapp.io/", "leister.io/"];

/// Reads a class in whichever shape it is written.
pub(super) fn read(mut fields: Map<String, Value>) -> Result<ClassCreate, String> {
    if let Some(kind) = fields.get("kind") {
        return match kind.as_str() {
            Some("StorageClass") => storage_class(fields),
            _ => Err(format!("kind is {kind}; only StorageClass is read here")),
        };
    }
    // As Trident's REST shows it: the class itself, and beside it the pools that match.
    if let Some(Value::Object(inner)) = fields.remove("Config").or_else(|| fields.remove("config")) {
        return stored(inner);
    }
    let is_stored =
        fields.contains_key("attributes") || POOL_LISTS.iter().any(|list| fields.contains_key(*list));
    if is_stored { stored(fields) } else { plain(fields) }
}

fn plain(mut fields: Map<String, Value>) -> Result<ClassCreate, String> {
    refuse_others(&fields, &OURS)?;
    Ok(ClassCreate {
        name: name(&mut fields)?,
        parameters: texts(fields.remove("parameters"), "parameters")?,
        mount_options: list(fields.remove("mountOptions"), "mountOptions")?,
    })
}

/// The shape Trident stores: `{version, name, attributes, storagePools, …}`.
fn stored(mut fields: Map<String, Value>) -> Result<ClassCreate, String> {
    let known: Vec<&str> = ["version", "attributes"].into_iter().chain(OURS).chain(POOL_LISTS).collect();
    refuse_others(&fields, &known)?;
    let mut parameters = texts(fields.remove("attributes"), "attributes")?;
    parameters.extend(texts(fields.remove("parameters"), "parameters")?);
    for key in POOL_LISTS {
        if let Some(value) = fields.remove(key).filter(|v| !v.is_null()) {
            let pools = pools(value, key)?;
            if !pools.is_empty() {
                parameters.insert(key.to_owned(), pools);
            }
        }
    }
    Ok(ClassCreate {
        name: name(&mut fields)?,
        parameters,
        mount_options: list(fields.remove("mountOptions"), "mountOptions")?,
    })
}

/// What Kubernetes itself acts upon (`reclaimPolicy`, `volumeBindingMode`, …) is left to it.
fn storage_class(mut fields: Map<String, Value>) -> Result<ClassCreate, String> {
    refuse_others(
        &fields,
        &[
            "apiVersion",
            "kind",
            "metadata",
            "provisioner",
            "parameters",
            "mountOptions",
            "reclaimPolicy",
            "allowVolumeExpansion",
            "volumeBindingMode",
            "allowedTopologies",
        ],
    )?;
    if fields.contains_key("allowedTopologies") {
        return Err(
            "allowedTopologies is for Kubernetes alone; ask for `region` or `zone` in parameters".into()
        );
    }
    let mut metadata = match fields.remove("metadata") {
        Some(Value::Object(metadata)) => metadata,
        _ => return Err("metadata.name is missing".into()),
    };
    let mut parameters = texts(fields.remove("parameters"), "parameters")?;
    for (key, value) in texts(metadata.remove("annotations"), "metadata.annotations")? {
        let plain = PREFIXES.iter().find_map(|prefix| key.strip_prefix(prefix));
        if let Some(plain) = plain.filter(|plain| ANNOTATIONS.contains(plain)) {
            parameters.retain(|k, _| PREFIXES.iter().find_map(|p| k.strip_prefix(p)).unwrap_or(k) != plain);
            parameters.insert(plain.to_owned(), value);
        }
    }
    Ok(ClassCreate {
        name: name(&mut metadata).map_err(|problem| format!("metadata.{problem}"))?,
        parameters,
        mount_options: list(fields.remove("mountOptions"), "mountOptions")?,
    })
}

fn refuse_others(fields: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match fields.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) if fields.len() == 1 || !fields.contains_key("name") && !fields.contains_key("kind") => {
            Err(format!("neither a backend (no `storageDriverName`) nor a class (no `name`); it has `{key}`"))
        }
        Some(key) => Err(format!("unknown field `{key}`; known in a class: {}", known.join(", "))),
    }
}

fn name(fields: &mut Map<String, Value>) -> Result<String, String> {
    match fields.remove("name") {
        Some(Value::String(name)) => Ok(name),
        Some(other) => Err(format!("name is {}; write text", kind_of(&other))),
        None => Err("name is missing".into()),
    }
}

/// YAML makes `snapshots: true` a boolean and `IOPS: 500` a number; the grammar of classes is text.
fn texts(value: Option<Value>, field: &str) -> Result<BTreeMap<String, String>, String> {
    match value {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(fields)) => fields
            .into_iter()
            .map(|(key, value)| match value {
                Value::String(text) => Ok((key, text)),
                Value::Bool(_) | Value::Number(_) => Ok((key, value.to_string())),
                other => Err(format!("{field}.{key} is {}; write text", kind_of(&other))),
            })
            .collect(),
        Some(other) => Err(format!("{field} is {}; write `key: value` lines", kind_of(&other))),
    }
}

fn list(value: Option<Value>, field: &str) -> Result<Vec<String>, String> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                other => Err(format!("{field} has {}; write a list of texts", kind_of(&other))),
            })
            .collect(),
        Some(other) => Err(format!("{field} is {}; write a list of texts", kind_of(&other))),
    }
}

/// `{backend: [pool, pool]}` as Trident stores it, or the text form as it is.
fn pools(value: Value, field: &str) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Object(backends) => {
            let parts: Result<Vec<String>, String> = backends
                .into_iter()
                .map(|(backend, pools)| Ok(format!("{backend}:{}", list(Some(pools), field)?.join(","))))
                .collect();
            Ok(parts?.join(";"))
        }
        other => Err(format!("{field} is {}; write `backend: [pool, pool]`", kind_of(&other))),
    }
}
