//! Jobs: what became of changes that were answered with 202.

use crate::resource::Resource;

pub(crate) static JOBS: Resource =
    Resource { path: "cluster/jobs", table: "jobs", schema: "job", shown: &[], ..Resource::PLAIN };
