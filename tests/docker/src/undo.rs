//! Undoing what a killed process leaves: mounts, loop devices.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::until;

/// Mount points at or below a folder, in the order they were mounted.
pub(crate) fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let targets = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    targets.filter(|target| target.starts_with(folder)).collect()
}

/// Loop devices whose file lies below a folder.
pub(crate) fn loops_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().filter_map(Result::ok);
    let below = |entry: &fs::DirEntry| {
        let file = fs::read_to_string(entry.path().join("loop/backing_file"));
        file.is_ok_and(|file| Path::new(file.trim_end()).starts_with(folder))
    };
    entries.filter(below).map(|entry| Path::new("/dev").join(entry.file_name())).collect()
}

/// Unmounts and detaches everything below a folder, as far as that is possible.
pub(crate) fn sweep(folder: &Path) {
    for target in mounts_below(folder).iter().rev() {
        // A mount that is busy goes when its last user does.
        let _ = unmount(target, UnmountFlags::empty()).or_else(|_| unmount(target, UnmountFlags::DETACH));
    }
    for device in loops_below(folder) {
        let _ = Command::new("losetup").arg("--detach").arg(device).status();
    }
}

/// Asks a child to end, and kills it at the limit.
pub(crate) fn stop(child: &mut Child, limit: Duration) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
    let ended = until("a process to end", limit, || child.try_wait().ok().flatten());
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
}
