//! The cluster itself.

use crate::resource::Resource;

pub(crate) static CLUSTER: Resource = Resource {
    path: "cluster",
    keys: &[],
    table: "cluster",
    schema: "cluster",
    // Everybody may know the version.
    svm: Some("_svm"),
    ..Resource::PLAIN
};
