//! Who an instance is, and how patient.

use std::time::Duration;

use model::{InstanceId, NodeIdentity};

/// Who we are and how patient.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Tags what we make on backends.
    pub instance: InstanceId,
    /// This machine.
    pub node: NodeIdentity,
    pub periods: Periods,
    pub limits: Limits,
    /// Other hosts, each with records of its own, share the backends and the instance's id: the backends are the truth.
    pub sharing: bool,
    /// Whether this instance may come to lead those that share its store.
    pub leads: bool,
    /// Whether this machine is a node, which uses volumes.
    pub is_node: bool,
}

/// How often and how long.
#[derive(Clone, Debug)]
pub struct Periods {
    /// Between comparisons of backends with records.
    pub drift: Duration,
    /// Between probes of backends.
    pub probe: Duration,
    /// Between looks for unfinished work.
    pub retry: Duration,
    /// A permit without publication is left alone for this long.
    pub grace: Duration,
    /// The longest that one call to a backend may take.
    pub call: Duration,
    /// The longest that a request waits for a backend that is still being opened.
    pub opening: Duration,
    /// The same for a node that wants to mount: containers that start with the machine can wait.
    pub opening_for_mount: Duration,
}

/// Calls at once, per backend and kind of work.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub create: usize,
    pub publish: usize,
    pub delete: usize,
    pub read: usize,
}

impl Settings {
    pub fn new(instance: InstanceId, node: NodeIdentity) -> Settings {
        Settings {
            instance,
            node,
            periods: Periods::default(),
            limits: Limits::default(),
            sharing: false,
            leads: true,
            is_node: true,
        }
    }
}

impl Default for Periods {
    fn default() -> Periods {
        Periods {
            drift: Duration::from_secs(60),
            probe: Duration::from_secs(15),
            retry: Duration::from_secs(5),
            grace: Duration::from_secs(300),
            call: Duration::from_secs(90),
            opening: Duration::from_millis(750),
            opening_for_mount: Duration::from_secs(20),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { create: 64, publish: 64, delete: 32, read: 64 }
    }
}
