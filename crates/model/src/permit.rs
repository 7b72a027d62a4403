use serde::{Deserialize, Serialize};

use crate::NodeIdentity;

/// The right of one node to reach one volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permit {
    pub node: NodeIdentity,
    /// The node may only read, where the storage can see to that.
    pub read_only: bool,
    /// No other node may reach the volume at the same time.
    pub exclusive: bool,
}

impl Permit {
    /// For reading and writing, beside other nodes.
    pub fn shared(node: NodeIdentity) -> Permit {
        Permit { node, read_only: false, exclusive: false }
    }

    /// For reading and writing, alone.
    pub fn exclusive(node: NodeIdentity) -> Permit {
        Permit { node, read_only: false, exclusive: true }
    }
}
