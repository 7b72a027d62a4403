//! Where a node's mounts are, by how many paths, and how long its tools may take.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Below it each volume gets a directory, and in it each reference a mount. Needs to outlive a reboot, as it
    /// also keeps the record of a format that has begun.
    pub mounts_root: PathBuf,
    pub limits: Limits,
    pub paths: Paths,
}

/// By how many portals a unit is reached that has several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paths {
    /// By all of them: iSCSI needs multipathd for that, NVMe its kernel's own multipath.
    #[default]
    All,
    /// By the first that lets us in: needs no multipathd, and waits while that one is away.
    One,
}

/// How long tools may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For those that only look.
    pub quick: Duration,
    /// For those that make, check or grow a filesystem.
    pub long: Duration,
    /// For those that wait for a storage behind a network.
    pub network: Duration,
    /// For a whole detach.
    pub detach: Duration,
    /// For what is wrong with a session to mend itself, before [`Host::heal`](super::Host::heal) does something about it.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            quick: Duration::from_secs(30),
            long: Duration::from_secs(30 * 60),
            network: Duration::from_secs(60),
            detach: Duration::from_secs(2 * 60),
            patience: Duration::from_secs(60),
        }
    }
}
