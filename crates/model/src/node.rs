use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{NodeName, Topology};

/// What a backend needs to know of a node to let it reach a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeIdentity {
    pub name: NodeName,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// iSCSI initiator name (IQN).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initiator: Option<String>,
    /// Those of its other machines, where the node stands for several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_initiators: Vec<String>,
    /// NVMe host name (NQN).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nqn: Option<String>,
    #[serde(default, skip_serializing_if = "Topology::is_empty")]
    pub topology: Topology,
}

impl NodeIdentity {
    pub fn named(name: NodeName) -> Self {
        NodeIdentity {
            name,
            addresses: Vec::new(),
            initiator: None,
            other_initiators: Vec::new(),
            nqn: None,
            topology: Topology::default(),
        }
    }

    /// All iSCSI initiator names of the node.
    pub fn initiators(&self) -> Vec<&str> {
        self.initiator.iter().chain(&self.other_initiators).map(String::as_str).collect()
    }
}
