//! Who may reach a volume, and by which route.

pub(crate) mod iscsi;
pub(crate) mod nfs;
pub(crate) mod nvme;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use driver::{DriverError, ErrorKind};
use model::{Handle, InstanceId, NodeName};

use crate::layout::lun_path;

/// Names of the igroups and subsystems of a node: `<node>.<instance>`, and with `.x` those that share with nobody.
#[derive(Clone, Debug)]
pub(crate) struct NodeGroup<'a> {
    pub(crate) instance: &'a InstanceId,
}

const EXCLUSIVE: &str = ".x";
/// Characters of an igroup's name.
const LONGEST_GROUP: usize = 96;

impl NodeGroup<'_> {
    pub(crate) fn name(
        &self,
        node: &NodeName,
        exclusive: bool,
        operation: &'static str,
    ) -> Result<String, DriverError> {
        let mark = if exclusive { EXCLUSIVE } else { "" };
        let name = format!("{node}.{}{mark}", self.instance);
        if name.len() > LONGEST_GROUP {
            let message = format!(
                "node `{node}` and instance `{}` together are too long for a name on the array; at most {} \
                 characters fit",
                self.instance,
                LONGEST_GROUP - EXCLUSIVE.len() - 1
            );
            return Err(DriverError::new(ErrorKind::Invalid, operation, message));
        }
        Ok(name)
    }

    /// The node a group of ours is for, and whether it shares with nobody.
    pub(crate) fn read(&self, group: &str) -> Option<(NodeName, bool)> {
        let (group, exclusive) = match group.strip_suffix(EXCLUSIVE) {
            Some(group) => (group, true),
            None => (group, false),
        };
        let node = group.strip_suffix(&format!(".{}", self.instance))?;
        Some((NodeName::new(node).ok()?, exclusive))
    }
}

/// Groups of nodes that let in the node as it is now, and nobody else: looked at once, and after each map again.
#[derive(Debug, Default)]
pub(crate) struct Sound(Mutex<HashMap<String, String>>);

impl Sound {
    pub(crate) fn is(&self, group: &str, member: &str) -> bool {
        self.groups().get(group).is_some_and(|known| known == member)
    }

    pub(crate) fn note(&self, group: &str, member: &str) {
        self.groups().insert(group.to_owned(), member.to_owned());
    }

    pub(crate) fn forget(&self, group: &str) {
        self.groups().remove(group);
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The refusal of a volume without what nodes are given.
pub(crate) fn no_unit(handle: &Handle) -> DriverError {
    let message = format!("`{handle}` has lost its LUN or namespace `{}`", lun_path(handle.as_str()));
    DriverError::new(ErrorKind::NotFound, PERMIT, message)
}

/// The refusal of a volume that another node has.
pub(crate) fn taken(handle: &Handle, node: &str) -> DriverError {
    DriverError::new(ErrorKind::InUse, PERMIT, format!("`{handle}` is permitted to node `{node}`"))
}

pub(crate) const PERMIT: &str = "permit node";
pub(crate) const FORBID: &str = "forbid node";

/// What a node has to tell before it can be permitted.
pub(crate) fn lacking(node: &NodeName, what: &str, hint: &str) -> DriverError {
    DriverError::new(ErrorKind::Invalid, PERMIT, format!("node `{node}` has no {what}; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_name_says_its_node() {
        let instance = InstanceId::new("inst-1").unwrap();
        let groups = NodeGroup { instance: &instance };
        for node in ["n1", "node.example.org", "x"] {
            let node = NodeName::new(node).unwrap();
            for exclusive in [false, true] {
                let name = groups.name(&node, exclusive, PERMIT).unwrap();
                assert_eq!(groups.read(&name), Some((node.clone(), exclusive)));
            }
        }
        for foreign in ["n1.other", "n1", "inst-1", "n1.inst-1.y"] {
            assert_eq!(groups.read(foreign), None, "{foreign}");
        }
        let long = NodeName::new("n".repeat(100)).unwrap();
        assert_eq!(groups.name(&long, true, PERMIT).unwrap_err().kind, ErrorKind::Invalid);
    }
}
