//! The NFS service of an SVM.

use crate::record::merge;
use crate::resource::Resource;

pub(crate) static NFS_SERVICES: Resource = Resource {
    path: "protocols/nfs/services",
    keys: &["svm.uuid"],
    table: "nfs_services",
    schema: "nfs_service",
    shown: &["svm.name"],
    patch: Some(|change, key, body| {
        change.state.change("nfs_services", key, |service| merge(service, body));
        Ok(())
    }),
    ..Resource::PLAIN
};
