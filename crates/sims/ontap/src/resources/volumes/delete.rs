//! `DELETE /storage/volumes/{uuid}`: into the recovery queue, or for good.

use serde_json::json;

use super::content;
use crate::record::{get, text};
use crate::refusal::{Refusal, Result};
use crate::resource::Change;
use crate::resources::consistency_groups;
use crate::state::State;

pub(super) fn delete(change: &mut Change, key: &str) -> Result<()> {
    let volume = change.state.find("volumes", key).cloned().unwrap_or_default();
    if volume["is_svm_root"] == true {
        let message = format!("Volume {} is the root of its SVM and cannot be deleted.", volume["name"]);
        return Err(Refusal::new(409, 917_862, message));
    }
    if !change.manner.deletes_mounted && get(&volume, "nas.path").is_some() {
        let message = format!("Volume {} is mounted: unmount it before it is deleted.", volume["name"]);
        return Err(Refusal::new(409, 917_863, message));
    }
    if let Some(group) = consistency_groups::group_of(change.state, key) {
        let message = format!(
            "Volume {} is in consistency group {}: take it out first.",
            volume["name"], group["name"]
        );
        return Err(Refusal::new(409, 53_411_870, message));
    }
    let below = change
        .state
        .below("volumes", text(&volume, "uuid").unwrap_or_default())
        .next()
        .map(|(_, other)| other);
    if let Some(other) = below {
        let message = format!("Volume {} is mounted below {}.", other["name"], volume["name"]);
        return Err(Refusal::new(409, 918_221, message));
    }
    if change.state.entries("_clones", &format!("{key}/")).next().is_some() {
        let message =
            format!("Volume {} is the parent of one or more FlexClones: it is busy.", volume["name"]);
        return Err(Refusal::new(409, 524_486, message));
    }
    let kept = content::of_volume(change.state, key);
    content::forget(change.state, key);
    change.state.remove("volumes", key);
    change.state.remove("_tasks", key);
    if change.params.is_set("force") {
        purge(change.state, key, text(&volume, "clone.parent_volume.uuid").unwrap_or_default());
        return Ok(());
    }
    let mut queued = volume;
    let number = change.state.next_number();
    queued["name"] = json!(format!("{}_{number}", text(&queued, "name").unwrap_or_default()));
    queued["_queued"] = json!(true);
    queued["_content"] = kept;
    queued["_deleted"] = change.time();
    change.state.put("_recovery_queue", key, queued);
    Ok(())
}

/// The volume is gone for good: what it stood on is free.
pub(crate) fn purge(state: &mut State, key: &str, parent: &str) {
    state.remove("_recovery_queue", key);
    state.remove("_clones", &format!("{parent}/{key}"));
}
