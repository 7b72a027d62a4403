//! Snapshot policies. Their schedules do not run: the simulator takes no snapshot by itself.

use crate::resource::Resource;

pub(crate) static SNAPSHOT_POLICIES: Resource = Resource {
    path: "storage/snapshot-policies",
    table: "snapshot_policies",
    schema: "snapshot_policy",
    ..Resource::PLAIN
};
