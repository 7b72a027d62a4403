//! A Kubernetes cluster of one node for tests: the real programs, in namespaces of their own, with the real `leister`
//! beside the kubelet.
//!
//! # Behavior
//! Its programs are built once a user, from the versions in `tools/`, into the user's cache. Everything ends with the
//! [`Cluster`], and with the process that started it, in whatever way that dies: processes, mounts, networks,
//! cgroups, loop devices, files. The machine's own settings are not touched.

mod cluster;
mod containers;
mod daemon;
mod go;
mod image;
mod kubelet;
mod leister;
mod programs;
mod said;
mod space;
mod wait;

pub use cluster::{Cluster, NODE};
pub use image::BUSYBOX;
pub use programs::Programs;
pub use said::Said;
pub use wait::until;

/// Why a cluster cannot run on this machine, if it cannot.
pub fn lacking() -> Option<String> {
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let lacks = |wanted: &str| !filesystems.lines().any(|line| line.ends_with(&format!("\t{wanted}")));
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".into());
    }
    if !std::path::Path::new("/dev/loop-control").exists() {
        return Some("needs loop devices".into());
    }
    if let Some(missing) = ["btrfs", "overlay"].into_iter().find(|name| lacks(name)) {
        return Some(format!("the kernel has no {missing}"));
    }
    let needed = ["etcd", "containerd", "runc", "busybox", "ip", "unshare", "nsenter", "bash", "mkfs.btrfs"];
    let missing = needed.into_iter().find(|name| said::find(name).is_none());
    missing.map(|program| format!("{program} is not installed"))
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
