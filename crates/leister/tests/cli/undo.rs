//! What a server leaves behind on purpose.

use std::path::Path;
use std::process::Command;

/// A server leaves its pool mounted: containers go on. A test must not.
pub(crate) fn undo(folder: &Path) {
    // Devices lie over files of the pool, and file systems over devices.
    for _ in 0..2 {
        take_down(folder);
    }
}

fn take_down(folder: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut below: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|point| Path::new(point).starts_with(folder))
        .collect();
    below.sort_unstable();
    for point in below.into_iter().rev() {
        let _ = Command::new("umount").arg(point).status();
    }
    let loops =
        Command::new("losetup").args(["--noheadings", "--output", "NAME,BACK-FILE", "--list"]).output();
    let listed = loops.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    for line in listed.lines() {
        if let Some((device, file)) = line.trim().split_once(' ')
            && Path::new(file.trim()).starts_with(folder)
        {
            let _ = Command::new("losetup").args(["--detach", device]).status();
        }
    }
}
