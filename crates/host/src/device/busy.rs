//! Who holds a mount or a device.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A process or a device that keeps something in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    who: String,
    how: String,
}

impl Holder {
    /// Whether it is udev, whose rules look into a device that was just closed, and end by themselves.
    pub(crate) fn is_passing(&self) -> bool {
        ["(udev-worker) ", "systemd-udevd "].iter().any(|name| self.who.starts_with(name))
    }
}

/// Processes that have something open below a mount point, or work there.
pub(crate) fn of_mount(point: &Path) -> Vec<Holder> {
    let below = crate::mount::Table::read().map(|t| {
        t.below(point)
            .map(|e| Holder { who: "a mount".to_owned(), how: format!("at {}", e.point.display()) })
            .collect()
    });
    let mut holders: Vec<Holder> = below.unwrap_or_default();
    for process in processes() {
        let how = links(&process).into_iter().find(|(_, path)| path.starts_with(point));
        if let Some((what, path)) = how {
            holders.push(process.holder(format!("{what} {}", path.display())));
        }
    }
    holders
}

/// Processes that have a block device open or see it mounted, and devices built on it.
pub(crate) fn of_device((major, minor): (u32, u32), name: &str) -> Vec<Holder> {
    let number = rustix::fs::makedev(major, minor);
    let built = fs::read_dir(Path::new("/sys/block").join(name).join("holders"));
    let mut holders: Vec<Holder> = built
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| Holder { who: named(&e.file_name().to_string_lossy()), how: "built on it".to_owned() })
        .collect();
    let device = Path::new("/dev").join(name);
    for process in processes() {
        let open = open_files(&process.directory).into_iter();
        let open = open.filter(|path| fs::metadata(path).is_ok_and(|m| m.rdev() == number)).count();
        if open > 0 {
            holders.push(process.holder("open".to_owned()));
            continue;
        }
        let table = fs::read(process.directory.join("mountinfo")).unwrap_or_default();
        let table = crate::mount::Table::parse(&table).unwrap_or_default();
        let mounted = table.entries().iter().find(|e| e.device == (major, minor) || *e.source == *device);
        if let Some(mounted) = mounted {
            holders.push(process.holder(format!("mounted at {}", mounted.point.display())));
        }
    }
    holders
}

/// Processes and loop devices that have a block device open. The daemon that watches paths is none: it lets go of one
/// that goes.
pub(crate) fn openers((major, minor): (u32, u32)) -> Vec<Holder> {
    let number = rustix::fs::makedev(major, minor);
    let mut holders: Vec<Holder> = loops_over(number).collect();
    for process in processes() {
        if fs::read_to_string(process.directory.join("comm")).is_ok_and(|name| name.trim() == "multipathd") {
            continue;
        }
        let mut away = None;
        let mut is_it = |link: &PathBuf| {
            // A file of a server that is gone must not be looked at: the look would wait for it.
            let path = fs::read_link(link).ok()?;
            let away = away.get_or_insert_with(|| network_mounts(&process.directory));
            let is_near = path.is_absolute() && !away.iter().any(|point| path.starts_with(point));
            (is_near && fs::metadata(link).ok()?.rdev() == number).then_some(())
        };
        if open_files(&process.directory).iter().find_map(&mut is_it).is_some() {
            holders.push(process.holder("open".to_owned()));
        }
    }
    holders
}

/// The holders in one line; who it is may well be unknown, as the kernel counts users that have no process.
pub(crate) fn describe(holders: &[Holder]) -> String {
    const SHOWN: usize = 4;
    if holders.is_empty() {
        return "something this process cannot see (the kernel, or a process in another pid namespace)"
            .to_owned();
    }
    let shown: Vec<String> = holders.iter().take(SHOWN).map(Holder::to_string).collect();
    let more = holders.len().saturating_sub(SHOWN);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.who, self.how)
    }
}

/// Loop devices whose file is this device: the kernel counts them as nobody's.
fn loops_over(number: u64) -> impl Iterator<Item = Holder> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    devices.filter_map(move |device| {
        let file = fs::read_to_string(device.path().join("loop/backing_file")).ok()?;
        // Only what lies in /dev may be looked at: the storage of any other file may be gone.
        let path = Path::new(file.trim_end()).to_owned();
        let is_it = path.starts_with("/dev") && fs::metadata(&path).is_ok_and(|m| m.rdev() == number);
        let name = device.file_name();
        is_it.then(|| Holder { who: named(&name.to_string_lossy()), how: "built on it".to_owned() })
    })
}

/// A device by the name that its maker gave it, too.
fn named(name: &str) -> String {
    match fs::read_to_string(Path::new("/sys/block").join(name).join("dm/name")) {
        Ok(given) => format!("the device {name} ({})", given.trim()),
        Err(_) => format!("the device {name}"),
    }
}

fn network_mounts(process: &Path) -> Vec<PathBuf> {
    let table = fs::read(process.join("mountinfo")).unwrap_or_default();
    let table = crate::mount::Table::parse(&table).unwrap_or_default();
    let is_far = |e: &&crate::mount::Entry| {
        matches!(e.filesystem.as_str(), "nfs" | "nfs4" | "cifs" | "smb3" | "ceph" | "9p")
            || e.filesystem.starts_with("fuse")
    };
    table
        .entries()
        .iter()
        .filter(is_far)
        .map(|e| e.point.clone())
        .filter(|point| point != Path::new("/"))
        .collect()
}

struct Process {
    pid: u32,
    directory: PathBuf,
}

impl Process {
    fn holder(&self, how: String) -> Holder {
        let command = fs::read_to_string(self.directory.join("comm")).unwrap_or_default();
        Holder { who: format!("{} pid {}", command.trim(), self.pid), how }
    }
}

fn processes() -> impl Iterator<Item = Process> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some(Process { pid, directory: entry.path() })
    })
}

/// What a process refers to by path. Processes that end meanwhile have nothing.
fn links(process: &Process) -> Vec<(&'static str, PathBuf)> {
    let own = [("working in", "cwd"), ("rooted in", "root"), ("running", "exe")];
    let own = own.map(|(what, name)| (what, process.directory.join(name)));
    let open = open_files(&process.directory).into_iter().map(|path| ("open file", path));
    own.into_iter().chain(open).filter_map(|(what, link)| Some((what, fs::read_link(link).ok()?))).collect()
}

fn open_files(process: &Path) -> Vec<PathBuf> {
    fs::read_dir(process.join("fd")).into_iter().flatten().flatten().map(|e| e.path()).collect()
}
