//! What a volume holds besides its own fields: what a snapshot keeps, a clone begins with, and a restore brings back.

use serde_json::{Value, json};

use crate::record::{set, text};
use crate::resource::Change;
use crate::state::State;

/// The tables whose objects lie in a volume.
const HELD: [&str; 2] = ["luns", "namespaces"];

/// What the volume holds now.
pub(crate) fn of_volume(state: &State, volume: &str) -> Value {
    let record = state.find("volumes", volume).cloned().unwrap_or_default();
    let mut content = json!({"size": record["size"], "used": record["_used"]});
    for table in HELD {
        content[table] = state.below(table, volume).map(|(_, object)| object.clone()).collect();
    }
    content["qtrees"] =
        state.entries("qtrees", &format!("{volume}/")).map(|(_, qtree)| qtree.clone()).collect();
    content
}

/// Gives a clone what a snapshot holds: blocks with identities of their own, mapped nowhere.
pub(crate) fn copy_into(change: &mut Change, snapshot: &Value, volume: &str) {
    let content = &snapshot["_content"];
    let record = change.state.find("volumes", volume).cloned().unwrap_or_default();
    let name = text(&record, "name").unwrap_or_default();
    for table in HELD {
        for object in content[table].as_array().into_iter().flatten() {
            let uuid = change.new_uuid();
            let mut object = object.clone();
            object["_origin"] = json!({"of": object["uuid"], "snapshot": snapshot["uuid"]});
            object["uuid"] = json!(uuid);
            if table == "luns" {
                super::give_serial(&mut object, change.state.next_number());
            }
            place(&mut object, &record, name);
            change.state.put(table, &uuid, object);
        }
    }
    put_qtrees(change.state, content, volume, &record);
}

/// Brings a volume back to what it held. What has the same name keeps its identity, and so its maps.
pub(crate) fn restore(change: &mut Change, snapshot: &Value, volume: &str) {
    let content = &snapshot["_content"];
    let restored = json!({"by": snapshot["uuid"], "number": change.state.next_number()});
    let record = change.state.find("volumes", volume).cloned().unwrap_or_default();
    let name = text(&record, "name").unwrap_or_default().to_owned();
    for table in HELD {
        let then: Vec<Value> = content[table].as_array().cloned().unwrap_or_default();
        let now: Vec<(String, Value)> =
            change.state.below(table, volume).map(|(key, object)| (key.to_owned(), object.clone())).collect();
        for (key, object) in now {
            if !then.iter().any(|then| then["uuid"] == object["uuid"]) {
                super::forget_block(change.state, table, &key);
            }
        }
        for mut object in then {
            place(&mut object, &record, &name);
            let uuid = text(&object, "uuid").unwrap_or_default().to_owned();
            change.state.put(table, &uuid, object);
        }
    }
    change.state.remove_all("qtrees", &format!("{volume}/"));
    put_qtrees(change.state, content, volume, &record);
    let used = content["used"].clone();
    change.state.change("volumes", volume, |record| {
        record["_used"] = used;
        record["_restored"] = restored;
    });
}

/// Takes everything out that lies in a volume.
pub(crate) fn forget(state: &mut State, volume: &str) {
    for table in HELD {
        let keys: Vec<String> = state.below(table, volume).map(|(key, _)| key.to_owned()).collect();
        for key in keys {
            super::forget_block(state, table, &key);
        }
    }
    for table in ["qtrees", "snapshots"] {
        state.remove_all(table, &format!("{volume}/"));
    }
    let rules =
        state.entries("quota_rules", "").filter(|(_, rule)| text(rule, "volume.uuid") == Some(volume));
    for key in rules.map(|(key, _)| key.to_owned()).collect::<Vec<_>>() {
        state.remove("quota_rules", &key);
    }
}

/// Follows the new name of a volume in everything that lies in it.
pub(crate) fn rename(state: &mut State, volume: &str) {
    let record = state.find("volumes", volume).cloned().unwrap_or_default();
    let name = text(&record, "name").unwrap_or_default().to_owned();
    for table in HELD {
        let keys: Vec<String> = state.below(table, volume).map(|(key, _)| key.to_owned()).collect();
        for key in keys {
            state.change(table, &key, |object| place(object, &record, &name));
        }
    }
    for table in ["qtrees", "snapshots"] {
        let keys: Vec<String> =
            state.entries(table, &format!("{volume}/")).map(|(key, _)| key.to_owned()).collect();
        for key in keys {
            state.change(table, &key, |object| set(object, "volume.name", name.clone()));
        }
    }
}

fn put_qtrees(state: &mut State, content: &Value, volume: &str, record: &Value) {
    for qtree in content["qtrees"].as_array().into_iter().flatten() {
        let mut qtree = qtree.clone();
        qtree["volume"] = crate::resource::reference(record);
        state.put("qtrees", &format!("{volume}/{}", qtree["id"]), qtree);
    }
}

/// A block object lies in this volume now: its path follows.
fn place(object: &mut Value, volume: &Value, name: &str) {
    let inside = text(object, "name").and_then(|path| path.strip_prefix("/vol/")?.split_once('/'));
    if let Some(inside) = inside.map(|(_, inside)| inside.to_owned()) {
        object["name"] = json!(format!("/vol/{name}/{inside}"));
    }
    set(object, "location.volume", crate::resource::reference(volume));
    object["svm"] = volume["svm"].clone();
}
