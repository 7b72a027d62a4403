//! A Kubernetes cluster of one node for tests: the real programs, in namespaces of their own, with the real `leister`
//! beside the kubelet.
//!
//! # Behavior
//! Its programs are built once a user, from the versions in `tools/`, into the user's cache. Everything ends with the
//! [`Cluster`], and with the process that started it, in whatever way that dies: processes, mounts, networks,
//! cgroups, loop devices, files. The machine's own settings are not touched.

mod array;
mod audit;
mod case_study;
mod cluster;
mod containers;
mod daemon;
mod door;
mod fleet;
mod helm;
mod image;
mod kubelet;
mod leister;
mod machine;
mod pod;
mod programs;
mod recorded;
mod scenes;
mod shared;
mod shared_fleet;
mod sidecars;
mod snapshots;
mod space;
mod users;

pub use array::{ARRAY_ACCOUNT, array_backend, array_backend_without_account};
pub use audit::Asked;
pub use case_study::{CLASS_AND_CLAIM, replicas};
pub use cluster::{Cluster, NODE};
pub use docker_suite::{Said, until};
pub use door::Door;
pub use fleet::{CONTROLLERS, Fleet};
pub use helm::Helm;
pub use image::{BUSYBOX, Product};
pub use leister::metrics;
pub use machine::{INSTANCE, Machine, PLACE, RECORDS};
pub use pod::{FILES, claim, pod, snapshot};
pub use programs::Programs;
pub use recorded::{RECORDED, RECORDED_ACCOUNT};
pub use scenes::Stage;
pub use shared::{Peace, Shared};
pub use shared_fleet::on_shared_fleet;
pub use sidecars::{CAPACITY, PACE, SIDECARS_ACCOUNT};
pub use snapshots::GROUPS;

/// Why a cluster cannot run on this machine, if it cannot.
pub fn lacking() -> Option<String> {
    docker_suite::lacking_of(&[
        "etcd",
        "containerd",
        "runc",
        "busybox",
        "ip",
        "unshare",
        "nsenter",
        "bash",
        "mkfs.btrfs",
    ])
}

/// Leaves the test with a line `skipped: <reason>` where the machine lacks what it needs.
#[macro_export]
macro_rules! needs_the_machine {
    () => {
        if let Some(reason) = $crate::lacking() {
            println!("skipped: {reason}");
            return Ok(());
        }
    };
}
