//! Where the bytes are: in volumes, in aggregates.

use serde_json::{Value, json};

use crate::record::{flag, merge, number, text};
use crate::refusal::{Refusal, Result};
use crate::resource::Change;
use crate::state::State;

/// Whether a volume has a part on the aggregate with this UUID.
pub(crate) fn lies_on(volume: &Value, aggregate: &str) -> bool {
    aggregates(volume).any(|own| own == aggregate)
}

/// The bytes that volumes take from an aggregate: thick ones all of their size, thin ones what they hold. What waits
/// in the recovery queue still takes what it holds.
pub(crate) fn used_of_aggregate(state: &State, aggregate: &str) -> u64 {
    let volumes = state.list("volumes").chain(state.list("_recovery_queue"));
    volumes.filter(|volume| lies_on(volume, aggregate)).map(|volume| footprint(volume) / parts(volume)).sum()
}

/// The bytes that an aggregate has left.
pub(crate) fn free_of_aggregate(state: &State, named: &Value) -> u64 {
    let uuid = text(named, "uuid").unwrap_or_default();
    let size = state.find("aggregates", uuid).and_then(|own| number(own, "space.block_storage.size"));
    size.unwrap_or(0).saturating_sub(used_of_aggregate(state, uuid))
}

/// Refuses what the aggregates have no room for: `bytes` are spread evenly.
pub(crate) fn check_room(change: &Change, aggregates: &[Value], bytes: u64) -> Result<()> {
    let each = bytes / aggregates.len().max(1) as u64;
    if each == 0 {
        return Ok(());
    }
    for named in aggregates {
        let uuid = text(named, "uuid").unwrap_or_default();
        let size =
            change.state.find("aggregates", uuid).and_then(|own| number(own, "space.block_storage.size"));
        let free = size.unwrap_or(0).saturating_sub(used_of_aggregate(change.state, uuid));
        if each > free {
            let message = format!(
                "Request failed because there is not enough space in aggregate {}: {each} bytes were asked for, \
                 {free} are free.",
                named["name"]
            );
            return Err(Refusal::new(400, 917_835, message).at("size"));
        }
    }
    Ok(())
}

/// What a volume takes from its aggregates.
pub(crate) fn footprint(volume: &Value) -> u64 {
    let size = number(volume, "size").unwrap_or(0);
    let thick =
        volume["guarantee"]["type"] == "volume" && volume["state"] != "offline" && !flag(volume, "_queued");
    if thick { size } else { number(volume, "_used").unwrap_or(0).min(size) }
}

/// The bytes in a volume that data or reserved blocks take.
pub(crate) fn used(state: &State, volume: &Value) -> u64 {
    let uuid = text(volume, "uuid").unwrap_or_default();
    let reserved: u64 = ["luns", "namespaces"]
        .iter()
        .flat_map(|table| state.below(table, uuid).map(|(_, block)| block))
        .filter(|block| flag(block, "space.guarantee.requested"))
        .filter_map(|block| number(block, "space.size"))
        .sum();
    number(volume, "_used").unwrap_or(0) + reserved
}

/// The bytes in a volume that are for data and not for snapshots.
pub fn for_data(volume: &Value) -> u64 {
    let size = number(volume, "size").unwrap_or(0);
    let percent = number(volume, "space.snapshot.reserve_percent").unwrap_or(0);
    size - size / 100 * percent.min(100)
}

/// Adds to a volume all that is computed about its space.
pub(crate) fn show(state: &State, volume: &mut Value) {
    let size = number(volume, "size").unwrap_or(0);
    let total = for_data(volume);
    let used = used(state, volume);
    let available = total.saturating_sub(used);
    let percent = |part: u64, whole: u64| (part * 100).checked_div(whole).unwrap_or(0);
    let footprint = footprint(volume);
    let reserve = size - total;
    merge(
        volume,
        json!({"space": {
            "size": size, "afs_total": total, "available": available, "available_percent": percent(available, total),
            "used": used, "percent_used": percent(used, total), "used_by_afs": used, "filesystem_size": size,
            "footprint": footprint, "total_footprint": footprint, "local_tier_footprint": footprint,
            "physical_used": used, "user_data": used, "size_available_for_snapshots": available + reserve,
            "snapshot": {
                "reserve_size": reserve, "reserve_available": reserve, "used": 0, "space_used_percent": 0,
                "autodelete_enabled": false,
            },
            "logical_space": {
                "available": available, "used": used, "used_by_afs": used, "used_percent": percent(used, total),
                "enforcement": false, "reporting": false,
            },
        }}),
    );
}

fn aggregates(volume: &Value) -> impl Iterator<Item = &str> {
    volume["aggregates"].as_array().into_iter().flatten().filter_map(|own| text(own, "uuid"))
}

fn parts(volume: &Value) -> u64 {
    volume["aggregates"].as_array().map_or(1, |own| own.len().max(1)) as u64
}
