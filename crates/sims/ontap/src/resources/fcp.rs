//! The FCP service: no system of this simulator has one.

use crate::resource::Resource;

pub(crate) static FCP_SERVICES: Resource = Resource {
    path: "protocols/san/fcp/services",
    keys: &["svm.uuid"],
    table: "fcp_services",
    schema: "fcp_service",
    shown: &["svm.name"],
    ..Resource::PLAIN
};
