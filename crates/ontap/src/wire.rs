//! The array's resources as they travel: for each its types, and one function for each call.

pub(crate) mod aggregates;
pub(crate) mod cluster;
pub(crate) mod consistency_groups;
pub(crate) mod exports;
pub(crate) mod igroups;
pub(crate) mod interfaces;
pub(crate) mod iscsi;
pub(crate) mod luns;
pub(crate) mod namespaces;
pub(crate) mod qtrees;
pub(crate) mod quotas;
pub(crate) mod snapshots;
pub(crate) mod subsystems;
pub(crate) mod svms;
pub(crate) mod volumes;

use serde::{Deserialize, Serialize};

/// A reference by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
}

impl Named {
    pub(crate) fn new(name: impl Into<String>) -> Named {
        Named { name: name.into() }
    }
}

/// A reference by both.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) uuid: String,
}

/// A reference by UUID.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ByUuid {
    pub(crate) uuid: String,
}

impl ByUuid {
    pub(crate) fn new(uuid: impl Into<String>) -> ByUuid {
        ByUuid { uuid: uuid.into() }
    }
}
