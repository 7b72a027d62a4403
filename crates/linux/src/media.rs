//! What kind of disk is under a path.

use std::fs;
use std::path::Path;

/// `hdd` or `ssd`; `None` where the kernel cannot say: network and virtual file systems.
pub(crate) fn detect(path: &Path) -> Option<&'static str> {
    let path = path.ancestors().find_map(|dir| fs::canonicalize(dir).ok())?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let device = fs::canonicalize(source(&mounts, &path)?).ok()?;
    let device = Path::new("/sys/class/block").join(device.file_name()?);
    let device = fs::canonicalize(device).ok()?;
    // A partition has no queue of its own.
    let queue = [device.as_path(), device.parent()?].into_iter().map(|dir| dir.join("queue/rotational"));
    match queue.filter_map(|file| fs::read_to_string(file).ok()).next()?.trim() {
        "0" => Some("ssd"),
        "1" => Some("hdd"),
        _ => None,
    }
}

/// The device of the innermost mount that `path` lies on.
fn source<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mount = |line: &'a str| {
        let (left, right) = line.split_once(" - ")?;
        let point = left.split(' ').nth(4)?.replace("\\040", " ");
        let source = right.split(' ').nth(1)?;
        path.starts_with(&point).then_some((point.len(), source))
    };
    // Of mounts on one point the last hides the others.
    let (_, source) = mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length)?;
    source.starts_with("/dev/").then_some(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_counts_and_of_two_the_last() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 8:2 / /srv rw shared:1 - ext4 /dev/sda2 rw\n\
                      3 1 8:3 / /srv rw - btrfs /dev/sdb rw\n4 1 0:3 / /srv/a\\040b rw - tmpfs tmpfs rw\n";
        for (path, device) in [
            ("/etc", Some("/dev/sda1")),
            ("/srv/x", Some("/dev/sdb")),
            ("/srvx", Some("/dev/sda1")),
            ("/srv/a b/c", None),
        ] {
            assert_eq!(source(mounts, Path::new(path)), device, "{path}");
        }
    }
}
