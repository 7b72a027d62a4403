//! Where LUNs and namespaces lie: `/vol/VOLUME/NAME`, `/vol/VOLUME/QTREE/NAME`.

use serde_json::{Value, json};

use super::qtrees;
use super::volumes::space;
use crate::record::{flag, get, number, set, text};
use crate::refusal::{self, Refusal, Result};
use crate::resource::{Change, find_named, reference};

/// A place for a block object.
pub(super) struct Place {
    pub path: String,
    pub location: Value,
    /// The volume that holds it; none on a system that has no volumes.
    pub volume: Option<(String, Value)>,
}

/// The place that a body asks for, in a volume that exists and is online. `unit` is what the location calls the name
/// without its folders.
pub(super) fn place(change: &Change, body: &Value, svm: &Value, unit: &str) -> Result<Place> {
    let name = text(body, "name").or_else(|| text(body, &format!("location.{unit}")));
    let name = name.filter(|name| !name.is_empty()).ok_or_else(|| refusal::missing("name"))?;
    if is_without_volumes(change) {
        check_part("name", name)?;
        return Ok(Place { path: name.to_owned(), location: json!({}), volume: None });
    }
    let (wanted, rest) = match name.strip_prefix("/vol/") {
        Some(inside) => {
            let split = inside.split_once('/');
            let (volume, rest) = split.ok_or_else(|| refusal::invalid("name", name, "/vol/VOLUME/NAME"))?;
            (json!({"location": {"volume": {"name": volume}}}), rest)
        }
        None => (json!({"location": {"volume": body["location"]["volume"]}}), name),
    };
    let (key, volume) = change.volume(&wanted, "location.volume", svm)?;
    if volume["state"] != "online" {
        return Err(Refusal::new(400, 524_623, format!("Volume {} is not online.", volume["name"])));
    }
    if volume["style"] == "flexgroup" {
        let message = format!("Volume {} is a FlexGroup, which holds no blocks.", volume["name"]);
        return Err(Refusal::new(400, 5_374_127, message).at("location.volume"));
    }
    let mut location = json!({"volume": reference(&volume)});
    let base = match rest.split_once('/') {
        Some((qtree, base)) => {
            let found = qtrees::find(change.state, &key, qtree).ok_or_else(|| {
                Refusal::new(404, 5_242_927, format!("Qtree \"{qtree}\" was not found."))
                    .at("location.qtree.name")
            })?;
            location["qtree"] = json!({"name": qtree, "id": found["id"]});
            base
        }
        None => rest,
    };
    check_part("name", base)?;
    location[unit] = json!(base);
    if let Some(node) = node_of(change, &volume) {
        location["node"] = node;
    }
    let path = format!("/vol/{}/{rest}", text(&volume, "name").unwrap_or_default());
    Ok(Place { path, location, volume: Some((key, volume)) })
}

/// Refuses a path that a LUN or a namespace has already.
pub(super) fn check_free(change: &Change, svm: &Value, path: &str) -> Result<()> {
    let taken =
        ["luns", "namespaces"].iter().any(|table| find_named(change.state, table, svm, path).is_some());
    if taken {
        let message = format!("A LUN or NVMe namespace already exists at the path \"{path}\".");
        return Err(Refusal::new(409, 5_374_242, message).at("name"));
    }
    Ok(())
}

/// Refuses what the volume has no room for, when room shall be reserved.
pub(super) fn check_room(change: &Change, block: &Value, volume: Option<&Value>, more: u64) -> Result<()> {
    let Some(volume) = volume else { return Ok(()) };
    if !flag(block, "space.guarantee.requested") {
        return Ok(());
    }
    let free = space::for_data(volume).saturating_sub(space::used(change.state, volume));
    if more > free {
        let message =
            format!("There is not enough space in volume {}: {more} asked, {free} free.", volume["name"]);
        return Err(Refusal::new(400, 5_374_858, message).at("space.size"));
    }
    Ok(())
}

/// The object that `path` in a body names, of this SVM.
pub(super) fn named(
    change: &Change,
    table: &str,
    body: &Value,
    path: &str,
    svm: &Value,
    absent: i64,
) -> Result<Value> {
    let (name, uuid) = (text(body, &format!("{path}.name")), text(body, &format!("{path}.uuid")));
    let found = match (name, uuid) {
        (None, None) => return Err(refusal::missing(&format!("{path}.name"))),
        (_, Some(uuid)) => change.state.find(table, uuid).filter(|own| own["svm"]["uuid"] == svm["uuid"]),
        (Some(name), None) => find_named(change.state, table, svm, name),
    };
    let shown = name.or(uuid).unwrap_or_default();
    let found = found.filter(|own| name.is_none_or(|name| own["name"] == name));
    found.cloned().ok_or_else(|| {
        let message = format!("\"{shown}\" was not found in SVM {}.", svm["name"]);
        Refusal::new(404, absent, message).at(&format!("{path}.name"))
    })
}

/// The new size in a modification: never smaller, never beyond what there can be.
pub(super) fn grow(change: &Change, block: &mut Value, size: u64) -> Result<()> {
    let before = number(block, "space.size").unwrap_or(0);
    if size < before {
        let message = format!("Reducing the size from {before} to {size} might cause permanent data loss.");
        return Err(Refusal::new(400, 5_374_892, message).at("space.size"));
    }
    check_size(change, size)?;
    let volume = text(block, "location.volume.uuid").and_then(|uuid| change.state.find("volumes", uuid));
    check_room(change, block, volume, size - before)?;
    set(block, "space.size", size);
    Ok(())
}

pub(super) fn check_size(change: &Change, size: u64) -> Result<()> {
    if size < 4096 || size > change.limits().largest_lun {
        let message = format!("Size {size} is not between 4096 and {}.", change.limits().largest_lun);
        return Err(Refusal::new(400, 5_374_859, message).at("space.size"));
    }
    Ok(())
}

/// A new path in the same volume.
pub(super) fn rename(change: &Change, block: &Value, new: &str, unit: &str) -> Result<Place> {
    let wanted = json!({"name": new, "location": {"volume": block["location"]["volume"]}});
    let place = place(change, &wanted, &block["svm"], unit)?;
    if place.location["volume"]["uuid"] != block["location"]["volume"]["uuid"] {
        let message = "Moving to another volume is not done by renaming.";
        return Err(Refusal::new(400, 5_374_917, message).at("name"));
    }
    check_free(change, &block["svm"], &place.path)?;
    Ok(place)
}

/// Whether the array keeps blocks without volumes.
pub(super) fn is_without_volumes(change: &Change) -> bool {
    change.state.list("cluster").any(|cluster| cluster["san_optimized"] == true)
}

/// What a body may not be without its comment being cut.
pub(super) fn check_comment(body: &Value) -> Result<()> {
    match get(body, "comment").and_then(Value::as_str).filter(|comment| comment.len() > 254) {
        Some(comment) => Err(refusal::invalid("comment", comment, "longer than 254 characters")),
        None => Ok(()),
    }
}

fn check_part(field: &str, name: &str) -> Result<()> {
    let legal = |own: char| own.is_ascii_alphanumeric() || "-._+={}[]:~@".contains(own);
    if name.is_empty() || name.len() > 255 || !name.chars().all(legal) {
        return Err(refusal::invalid(field, name, "at most 255 letters, digits and -._+={}[]:~@"));
    }
    Ok(())
}

fn node_of(change: &Change, volume: &Value) -> Option<Value> {
    let aggregate = volume["aggregates"][0]["uuid"].as_str()?;
    let node = &change.state.find("aggregates", aggregate)?["node"];
    Some(json!({"name": node["name"], "uuid": node["uuid"]}))
}
