//! Licences: which protocols and abilities the cluster has.

use crate::resource::Resource;

pub(crate) static LICENCES: Resource = Resource {
    path: "cluster/licensing/licenses",
    keys: &["name"],
    table: "licences",
    schema: "licence",
    shown: &["name", "state", "scope"],
    svm: None,
    ..Resource::PLAIN
};
