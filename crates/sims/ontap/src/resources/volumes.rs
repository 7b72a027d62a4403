//! Volumes: FlexVol and FlexGroup.

pub(crate) mod clone;
pub(crate) mod content;
mod create;
mod delete;
mod modify;
pub(crate) mod space;

use serde_json::{Value, json};

pub(crate) use clone::end_split;
pub(crate) use delete::purge;

use crate::record::{get, remove, set, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, Resource, find_named, reference};
use crate::state::State;

pub(crate) static VOLUMES: Resource = Resource {
    path: "storage/volumes",
    table: "volumes",
    schema: "volume",
    jobs: true,
    params: &[
        "force",
        "restore_to.snapshot.name",
        "restore_to.snapshot.uuid",
        "validate_only",
        "sizing_method",
    ],
    view,
    post: Some(create::create),
    patch: Some(modify::modify),
    delete: Some(delete::delete),
    ..Resource::PLAIN
};

fn view(state: &State, stored: &Value) -> Value {
    let mut volume = stored.clone();
    let uuid = text(stored, "uuid").unwrap_or_default();
    space::show(state, &mut volume);
    volume["snapshot_count"] = json!(state.entries("snapshots", &format!("{uuid}/")).count());
    set(&mut volume, "clone.has_flexclone", state.entries("_clones", &format!("{uuid}/")).next().is_some());
    if let Some(policy) = get(&volume, "nas.export_policy.id").and_then(Value::as_u64) {
        // A policy that somebody took away behind the array's back is still named by its volumes.
        if let Some(own) = state.find("export_policies", &policy.to_string()) {
            set(&mut volume, "nas.export_policy.name", own["name"].clone());
        }
    }
    if stored["state"] != "online" {
        for path in ["space.available", "space.used"] {
            remove(&mut volume, path);
        }
    }
    volume
}

/// A name that a volume can have.
fn check_name(name: &str) -> Result<()> {
    let legal = name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_');
    let begins = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if name.is_empty() {
        return Err(refusal::missing("name"));
    }
    if !legal || !begins || name.len() > 203 {
        let message = format!(
            "Volume name \"{name}\" is invalid. It must begin with a letter or an underscore, hold only letters, \
             digits and underscores, and be at most 203 characters long."
        );
        return Err(Refusal::new(400, 917_888, message).at("name"));
    }
    Ok(())
}

fn check_unique(state: &State, svm: &Value, name: &str) -> Result<()> {
    if find_named(state, "volumes", svm, name).is_none() {
        return Ok(());
    }
    let message = format!("Volume \"{name}\" in SVM {} already exists: duplicate entry.", svm["name"]);
    Err(Refusal::new(409, 1, message).at("name"))
}

/// Whether a volume can be mounted at a junction: absolute, free, and below another junction.
fn check_junction(state: &State, svm: &Value, path: &str, own: &str) -> Result<()> {
    let refuse = |code, why: String| Err(Refusal::new(400, code, why).at("nas.path"));
    if !path.starts_with('/') || path == "/" || path.ends_with('/') || path.contains("//") {
        return refuse(918_187, format!("Junction path \"{path}\" is invalid: it must be an absolute path."));
    }
    let uuid = text(svm, "uuid").unwrap_or_default();
    if let Some(other) = state.mounted_at(uuid, path).filter(|volume| volume["uuid"] != own) {
        let why = format!("Junction path \"{path}\" is already in use by {}.", other["name"]);
        return refuse(918_188, why);
    }
    let parent = parent_of(path);
    if state.mounted_at(uuid, parent).is_none() {
        let why = format!("Junction path \"{path}\" has no parent: nothing is mounted at \"{parent}\".");
        return refuse(918_189, why);
    }
    Ok(())
}

/// The volume that a junction hangs on.
fn junction_parent(state: &State, svm: &Value, path: &str) -> Value {
    let found = state.mounted_at(text(svm, "uuid").unwrap_or_default(), parent_of(path));
    found.map(reference).unwrap_or_default()
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map(|(parent, _)| parent).filter(|parent| !parent.is_empty()).unwrap_or("/")
}

/// The QoS policy that a body names at `path`; null takes away what there is.
fn qos(change: &Change, body: &Value, path: &str, svm: &Value) -> Result<Option<Value>> {
    let Some(wanted) = get(body, path) else { return Ok(None) };
    super::qos_policies::named(change.state, wanted, path, svm).map(Some)
}

/// The snapshot policy that a body names.
fn snapshot_policy(change: &Change, body: &Value) -> Result<Option<Value>> {
    let Some(wanted) = get(body, "snapshot_policy") else { return Ok(None) };
    let policies = &change.state;
    let found = match (wanted["name"].as_str(), wanted["uuid"].as_str()) {
        (Some(name), _) => policies.find_by("snapshot_policies", "name", name).map(|(_, policy)| policy),
        (None, Some(uuid)) => policies.find("snapshot_policies", uuid),
        (None, None) => return Ok(None),
    };
    let policy = found.ok_or_else(|| {
        let message = format!("Snapshot policy {wanted} does not exist.");
        Refusal::new(400, 1_638_414, message).at("snapshot_policy.name")
    })?;
    Ok(Some(reference(policy)))
}

/// One of the values that a field can have.
fn check_choice(body: &Value, path: &str, known: &[&str]) -> Result<()> {
    let Some(value) = text(body, path) else { return Ok(()) };
    if known.contains(&value) {
        Ok(())
    } else {
        Err(refusal::invalid(path, value, &format!("<{}>", known.join("|"))))
    }
}

/// What create and modify check alike.
fn check_choices(body: &Value) -> Result<()> {
    check_choice(body, "guarantee.type", &["none", "volume"])?;
    check_choice(body, "nas.security_style", &["unix", "ntfs", "mixed", "unified"])?;
    check_choice(
        body,
        "tiering.policy",
        &["all", "auto", "backup", "none", "snapshot_only", "snapshot-only"],
    )?;
    check_choice(body, "autosize.mode", &["grow", "grow_shrink", "off"])?;
    check_choice(body, "state", &["online", "offline", "restricted"])?;
    if let Some(permissions) = get(body, "nas.unix_permissions").and_then(Value::as_u64) {
        let text = permissions.to_string();
        if text.len() > 4 || text.contains(['8', '9']) {
            return Err(refusal::invalid("nas.unix_permissions", &text, "octal permissions such as 755"));
        }
    }
    if let Some(comment) = text(body, "comment").filter(|comment| comment.len() > 1023) {
        return Err(refusal::invalid("comment", comment, "longer than 1023 characters"));
    }
    if let Some(percent) =
        get(body, "space.snapshot.reserve_percent").and_then(Value::as_u64).filter(|own| *own > 90)
    {
        return Err(refusal::invalid(
            "space.snapshot.reserve_percent",
            &percent.to_string(),
            "<integer 0..90>",
        ));
    }
    Ok(())
}

/// Gives a LUN its serial number: twelve characters. They are hexadecimal digits, as the name that Linux' target shows of
/// a unit is made of those alone: two LUNs must never have the same one.
pub(crate) fn give_serial(lun: &mut Value, number: u64) {
    let serial = format!("8{:011X}", number & 0xfff_ffff_ffff);
    lun["serial_number_hex"] = serial.bytes().map(|byte| format!("{byte:02x}")).collect::<String>().into();
    lun["serial_number"] = serial.into();
}

/// Takes a LUN or namespace out, with its maps.
pub(crate) fn forget_block(state: &mut State, table: &str, key: &str) {
    state.remove(table, key);
    let mapped: Vec<(&str, String)> = match table {
        "luns" => state
            .entries("lun_maps", &format!("{key}/"))
            .map(|(map, _)| ("lun_maps", map.to_owned()))
            .collect(),
        _ => state.below("nvme_maps", key).map(|(map, _)| ("nvme_maps", map.to_owned())).collect(),
    };
    for (maps, map) in mapped {
        state.remove(maps, &map);
        state.remove_all("reporting_nodes", &format!("{map}/"));
    }
    state.remove_all("lun_attributes", &format!("{key}/"));
}
