//! The Docker volume plugin: a container engine's way to the orchestrator and to this node's hands.
//!
//! It keeps nothing of its own. Volumes are the orchestrator's; who has which mounted is read from the mount
//! table; so a restart, however rude, loses no count.

mod error;
pub mod options;
mod plugin;
mod protocol;
mod status;
mod volumes;

use std::path::PathBuf;
use std::time::Duration;

use model::InstanceId;

pub use error::DockerError;
pub use plugin::Plugin;

/// How one instance of the plugin serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerSettings {
    /// What users write behind `docker volume create -d`.
    pub name: InstanceId,
    /// Where the engine looks for plugins.
    pub plugin_dir: PathBuf,
    pub deadlines: Deadlines,
}

/// How long a call may take before it is answered with an error. The work itself goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// For `Create` and `Mount`: the engine gives up after two minutes.
    pub long: Duration,
    /// For everything else: the engine gives up after one minute.
    pub short: Duration,
    /// For what is asked of a backend only to show it.
    pub glance: Duration,
}

impl DockerSettings {
    pub fn new(name: InstanceId) -> DockerSettings {
        DockerSettings {
            name,
            plugin_dir: PathBuf::from("/run/docker/plugins"),
            deadlines: Deadlines::default(),
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines {
            long: Duration::from_secs(110),
            short: Duration::from_secs(50),
            glance: Duration::from_millis(500),
        }
    }
}
