//! Which subsystem shows which namespace.

use serde_json::{Value, json};

use super::block_paths as paths;
use crate::record::text;
use crate::refusal::{Refusal, Result};
use crate::resource::{Change, Resource};

pub(crate) static NVME_MAPS: Resource = Resource {
    path: "protocols/nvme/subsystem-maps",
    keys: &["subsystem.uuid", "namespace.uuid"],
    table: "nvme_maps",
    schema: "nvme_map",
    shown: &["subsystem.name", "namespace.name", "svm"],
    post: Some(create),
    delete: Some(delete),
    ..Resource::PLAIN
};

fn create(change: &mut Change, _: &[String], body: Value) -> Result<String> {
    let svm = change.svm(&body)?;
    let subsystem = paths::named(change, "nvme_subsystems", &body, "subsystem", &svm, 72_090_001)?;
    let namespace = paths::named(change, "namespaces", &body, "namespace", &svm, 72_090_006)?;
    let mapped = change.state.below("nvme_maps", text(&namespace, "uuid").unwrap_or_default()).next();
    if let Some((_, map)) = mapped {
        let message = format!(
            "Namespace {} is already mapped to subsystem {}.",
            namespace["name"], map["subsystem"]["name"]
        );
        return Err(Refusal::new(409, 72_089_999, message));
    }
    let subsystem_key = text(&subsystem, "uuid").unwrap_or_default().to_owned();
    let prefix = format!("{subsystem_key}/");
    let taken: Vec<&str> =
        change.state.entries("nvme_maps", &prefix).filter_map(|(_, map)| text(map, "nsid")).collect();
    let most = change.limits().namespaces_per_subsystem;
    if taken.len() >= most {
        let message =
            format!("Subsystem {} has {most} namespaces, which is the most it can have.", subsystem["name"]);
        return Err(Refusal::new(400, 72_090_010, message));
    }
    let nsid = (1..).map(|number: u64| format!("{number:08x}h")).find(|nsid| !taken.contains(&nsid.as_str()));
    let key = format!("{prefix}{}", text(&namespace, "uuid").unwrap_or_default());
    let map = json!({
        "svm": svm, "nsid": nsid, "anagrpid": "00000001h",
        "subsystem": {"name": subsystem["name"], "uuid": subsystem["uuid"], "serial_number": subsystem["serial_number"]},
        "namespace": {"name": namespace["name"], "uuid": namespace["uuid"], "node": namespace["location"]["node"]},
    });
    change.state.put("nvme_maps", &key, map);
    Ok(key)
}

fn delete(change: &mut Change, key: &str) -> Result<()> {
    change.state.remove("nvme_maps", key);
    let subsystem = key.split_once('/').map_or(key, |(subsystem, _)| subsystem);
    let record = change.state.find("nvme_subsystems", subsystem);
    let goes = record.is_some_and(|own| own["delete_on_unmap"] == true)
        && change.state.entries("nvme_maps", &format!("{subsystem}/")).next().is_none();
    if goes {
        change.state.remove("nvme_subsystems", subsystem);
        change.state.remove_all("nvme_hosts", &format!("{subsystem}/"));
    }
    Ok(())
}
