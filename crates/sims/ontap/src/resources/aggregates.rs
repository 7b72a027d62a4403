//! Aggregates: the disks that volumes take their space from.

use serde_json::{Value, json};

use crate::record::{merge, number, text};
use crate::resource::Resource;
use crate::resources::volumes::space;
use crate::state::State;

pub(crate) static AGGREGATES: Resource = Resource {
    path: "storage/aggregates",
    table: "aggregates",
    schema: "aggregate",
    svm: None,
    view,
    ..Resource::PLAIN
};

fn view(state: &State, stored: &Value) -> Value {
    let mut aggregate = stored.clone();
    let uuid = text(stored, "uuid").unwrap_or_default();
    let size = number(stored, "space.block_storage.size").unwrap_or(0);
    let used = space::used_of_aggregate(state, uuid);
    let available = size.saturating_sub(used);
    let percent = (used * 100).checked_div(size).unwrap_or(0);
    let volumes = state.list("volumes").filter(|volume| space::lies_on(volume, uuid)).count();
    merge(
        &mut aggregate,
        json!({
            "volume-count": volumes,
            "space": {
                "block_storage": {"used": used, "available": available, "used_percent": percent},
                "footprint": used,
            },
        }),
    );
    aggregate
}
