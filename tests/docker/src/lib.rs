//! A rig for the whole system: a Docker Engine of its own, the real `leister` beside it, and a user's commands.
//!
//! # Behavior
//! Everything made here is undone when it is dropped, also by a test that fails: containers, the engine, the
//! instance, its pool's mounts and loop device, its socket. Only processes started here are ended.

mod engine;
mod image;
mod leister;
mod remote;
mod said;
mod stage;
mod undo;
mod wait;

pub use engine::Engine;
pub use leister::{Leister, LeisterSpec};
pub use remote::Remote;
pub use said::{Said, find, run, run_by, run_within};
pub use stage::Stage;
pub use wait::until;

/// Why whole-system tests cannot run on this machine, if they cannot.
pub fn lacking() -> Option<String> {
    lacking_of(&["dockerd", "docker", "mkfs.btrfs", "busybox"])
}

/// Why tests that need root, loop devices, btrfs and these programs cannot run on this machine, if they cannot.
pub fn lacking_of(programs: &[&str]) -> Option<String> {
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
    let missing = programs.iter().find(|name| said::find(name).is_none());
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
