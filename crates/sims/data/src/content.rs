//! Which volumes the pool shall have for the array's state, and which snapshots of them.

use std::collections::{BTreeMap, BTreeSet};

use filer::{Layout, Source};
use serde_json::Value;
use sim_ontap::record::{number, text};
use sim_ontap::{State, for_data};

/// What the array keeps, by the handle of the pool's volume that holds it.
pub(crate) type Contents = BTreeMap<String, Content>;

/// One volume of the pool: the files of a volume or of a qtree, the blocks of a LUN or of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) layout: Layout,
    pub(crate) size: u64,
    /// What it begins with; nothing without it.
    pub(crate) origin: Option<Source>,
    pub(crate) owner: Owner,
    /// UUIDs of the array's snapshots that hold it.
    pub(crate) snapshots: BTreeSet<String>,
}

/// Of the root of files; of blocks none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) mode: Option<u32>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

/// A replacement of content that was there: it happens once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Replacement {
    /// By what one of its own snapshots holds.
    Restore { handle: String, snapshot: String },
    /// By what another holds now.
    Overwrite { handle: String, by: String },
}

/// All that the array keeps, also what it keeps for its snapshots or its recovery queue alone.
pub(crate) fn of(state: &State) -> Contents {
    let mut all = Contents::new();
    for volume in state.list("volumes") {
        all.insert(uuid(volume), files(volume, volume));
    }
    for (key, qtree) in state.entries("qtrees", "") {
        if let Some(volume) = key.split_once('/').and_then(|(uuid, _)| state.find("volumes", uuid)) {
            add_qtree(&mut all, state, qtree, volume);
        }
    }
    for block in state.list("luns").chain(state.list("namespaces")) {
        all.insert(uuid(block), blocks(block));
    }
    for queued in state.list("_recovery_queue") {
        all.insert(uuid(queued), files(queued, queued));
        add_held(&mut all, state, &queued["_content"], queued);
    }
    for (key, snapshot) in state.entries("snapshots", "") {
        let Some((volume, own)) = key.split_once('/') else { continue };
        let Some(record) = state.find("volumes", volume) else { continue };
        let mut handles = add_held(&mut all, state, &snapshot["_content"], record);
        handles.push(volume.to_owned());
        for handle in handles {
            if let Some(content) = all.get_mut(&handle) {
                content.snapshots.insert(own.to_owned());
            }
        }
    }
    all
}

/// What was replaced between two states.
pub(crate) fn replaced(before: &State, after: &State) -> Vec<Replacement> {
    let mut all = Vec::new();
    let mut restored = BTreeSet::new();
    for volume in after.list("volumes") {
        let own = uuid(volume);
        let Some(was) = before.find("volumes", &own) else { continue };
        if was["_restored"] == volume["_restored"] {
            continue;
        }
        let Some(by) = text(volume, "_restored.by") else { continue };
        let Some(snapshot) = after.find("snapshots", &format!("{own}/{by}")) else { continue };
        let mut handles = held(&snapshot["_content"], &own);
        handles.push(own.clone());
        all.extend(
            handles.into_iter().map(|handle| Replacement::Restore { handle, snapshot: by.to_owned() }),
        );
        restored.insert(own);
    }
    for lun in after.list("luns") {
        let handle = uuid(lun);
        let Some(was) = before.find("luns", &handle) else { continue };
        let in_restored = text(lun, "location.volume.uuid").is_some_and(|volume| restored.contains(volume));
        if in_restored || was["_overwritten"] == lun["_overwritten"] {
            continue;
        }
        if let Some(by) = text(lun, "_overwritten.by") {
            all.push(Replacement::Overwrite { handle, by: by.to_owned() });
        }
    }
    all
}

/// The handle of a qtree's files. Its number among the volume's qtrees is given again to another one; this is not.
pub(crate) fn handle_of_qtree(qtree: &Value, volume: &str) -> Option<String> {
    let own = number(qtree, "_number").filter(|_| qtree["id"] != 0)?;
    Some(format!("{volume}.q{own}"))
}

fn add_qtree(all: &mut Contents, state: &State, qtree: &Value, volume: &Value) {
    let parent = uuid(volume);
    let Some(handle) = handle_of_qtree(qtree, &parent) else { return };
    let mut content = files(qtree, volume);
    content.size = limit_of_qtree(state, &parent, &qtree["id"]).unwrap_or(content.size);
    content.origin = text(volume, "_origin.of").and_then(|of| {
        let handle = handle_of_qtree(qtree, of)?;
        let name = text(volume, "_origin.snapshot")?.to_owned();
        // A qtree that was made in the clone itself begins with nothing.
        let snapshot = state.find("snapshots", &format!("{of}/{name}"))?;
        held(&snapshot["_content"], of).contains(&handle).then_some(Source::Snapshot { handle, name })
    });
    all.entry(handle).or_insert(content);
}

/// The handles of what a volume held, which the pool keeps.
fn add_held(all: &mut Contents, state: &State, held_then: &Value, volume: &Value) -> Vec<String> {
    for qtree in elements(held_then, "qtrees") {
        add_qtree(all, state, qtree, volume);
    }
    for block in elements(held_then, "luns").chain(elements(held_then, "namespaces")) {
        all.entry(uuid(block)).or_insert_with(|| blocks(block));
    }
    held(held_then, &uuid(volume))
}

fn held(content: &Value, volume: &str) -> Vec<String> {
    let qtrees = elements(content, "qtrees").filter_map(|qtree| handle_of_qtree(qtree, volume));
    qtrees.chain(elements(content, "luns").chain(elements(content, "namespaces")).map(uuid)).collect()
}

/// The files of a volume, or of a qtree in it.
fn files(own: &Value, volume: &Value) -> Content {
    let nas = if own["nas"].is_object() { &own["nas"] } else { own };
    // Octal digits, written as a decimal number.
    let mode = number(nas, "unix_permissions").map(|digits| digits.to_string());
    let mode = mode.and_then(|digits| u32::from_str_radix(&digits, 8).ok());
    let id = |name: &str| number(nas, name).and_then(|id| u32::try_from(id).ok());
    Content {
        layout: Layout::File,
        size: for_data(volume),
        origin: origin(own),
        owner: Owner { mode, uid: id("uid"), gid: id("gid") },
        snapshots: BTreeSet::new(),
    }
}

fn blocks(block: &Value) -> Content {
    Content {
        layout: Layout::Block,
        size: number(block, "space.size").unwrap_or(0),
        origin: origin(block),
        owner: Owner::default(),
        snapshots: BTreeSet::new(),
    }
}

fn origin(record: &Value) -> Option<Source> {
    let handle = text(record, "_origin.of")?.to_owned();
    Some(match text(record, "_origin.snapshot") {
        Some(name) => Source::Snapshot { handle, name: name.to_owned() },
        None => Source::Volume { handle },
    })
}

/// What the rule allows that counts for a qtree.
fn limit_of_qtree(state: &State, volume: &str, id: &Value) -> Option<u64> {
    let rules = state.list("quota_rules");
    let mut of_qtree = rules.filter(|rule| {
        rule["type"] == "tree"
            && rule["_active"] == true
            && text(rule, "volume.uuid") == Some(volume)
            && rule["qtree"]["id"] == *id
    });
    of_qtree.find_map(|rule| number(rule, "space.hard_limit"))
}

fn elements<'a>(content: &'a Value, table: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    content[table].as_array().into_iter().flatten()
}

fn uuid(record: &Value) -> String {
    text(record, "uuid").unwrap_or_default().to_owned()
}
