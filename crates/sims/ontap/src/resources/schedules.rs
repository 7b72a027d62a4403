//! Schedules, for snapshot policies and mirrors.

use crate::resource::Resource;

pub(crate) static SCHEDULES: Resource =
    Resource { path: "cluster/schedules", table: "schedules", schema: "schedule", ..Resource::PLAIN };
