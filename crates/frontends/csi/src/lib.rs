//! The Container Storage Interface: the way of Kubernetes, Nomad and others to the orchestrator and to this node's
//! hands, on one socket for all services, or on one for the controller and one on each node.
//!
//! It keeps nothing of its own. Volumes are the orchestrator's; what is shown where is read from the mount table.

mod capability;
mod controller;
mod error;
mod groups;
mod health;
mod identity;
mod names;
mod node;
mod parameters;
mod places;
mod plugin;
mod registration;
mod shown;
mod status;
mod token;
pub mod wire;

use std::num::NonZeroU32;
use std::path::PathBuf;

pub use error::CsiError;
pub use plugin::Plugin;

/// How the plugin serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsiSettings {
    /// What is asked of the whole storage, by the sidecars of a cluster, is answered too.
    pub controller: bool,
    /// What a StorageClass calls its provisioner.
    pub name: String,
    pub socket: PathBuf,
    /// The directory of this node's kubelet, where the plugin makes itself known.
    pub kubelet: Option<PathBuf>,
    /// Nodes say where they are, so volumes go where their users can reach them.
    pub topology: bool,
    /// So many volumes a node may have; `None`: as many as there are.
    pub most_volumes: Option<NonZeroU32>,
}

/// What sidecars add to parameters by themselves begins so.
pub(crate) const ADDED: &str = "csi.storage.k8s.io/";

/// The name of the plugin where nobody chose one.
pub const DEFAULT_NAME: &str = "csi.leister.io";

/// Checks a name as the protocol wants it: that of a domain.
///
/// # Errors
/// What does not fit.
pub fn check_name(name: &str) -> Result<(), String> {
    const LONGEST: usize = 63;
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let has_firm_ends = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    if name.len() <= LONGEST && has_firm_ends && name.chars().all(legal) {
        return Ok(());
    }
    Err(format!(
        "write 1 to {LONGEST} letters, digits, `-` and `.`, with a letter or digit at both ends, as in {DEFAULT_NAME}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_named_like_a_domain() {
        for good in [DEFAULT_NAME, "a", "storage-2.example.com"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "-a", "a.", "a/b", "a b", &"x".repeat(64)] {
            assert!(check_name(bad).unwrap_err().contains(DEFAULT_NAME), "{bad}");
        }
    }
}
