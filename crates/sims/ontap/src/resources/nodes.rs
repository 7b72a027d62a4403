//! Nodes. For an account of the cluster only.

use crate::resource::Resource;

pub(crate) static NODES: Resource =
    Resource { path: "cluster/nodes", table: "nodes", schema: "node", svm: None, ..Resource::PLAIN };
