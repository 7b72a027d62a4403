//! What this machine has: kernel modules, tools, services.
//!
//! # Errors
//! `Unsupported` names the package or the kernel that has what is missing; a system call's error names the path.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, mount};

use super::configfs::{directory, step};
use crate::FilerError;
use crate::error::{Context as _, Result};

const CONFIGFS: &str = "/sys/kernel/config";

/// Sees to it that the kernel has what `shows` it; `modules` have it.
pub fn kernel_has(what: &str, modules: &[&str], shows: &Path) -> Result<()> {
    if shows.exists() {
        return Ok(());
    }
    let modprobe = tool("modprobe", "kmod")?;
    for module in modules {
        let done = Command::new(&modprobe).args(["-q", module]).stdin(Stdio::null()).status();
        let done = done.while_doing("run", &modprobe)?;
        if !done.success() {
            return Err(FilerError::Unsupported(format!(
                "this kernel has no {what} (module `{module}`): boot one that has, such as that of Debian's package \
                 linux-image-amd64"
            )));
        }
    }
    Ok(())
}

/// Where configfs is, mounted when it was not.
pub fn configfs() -> Result<PathBuf> {
    let place = PathBuf::from(CONFIGFS);
    kernel_has("configfs", &["configfs"], &place)?;
    mounted("configfs", &place)?;
    Ok(place)
}

/// Mounts a file system of the kernel's own where nothing is mounted yet.
pub fn mounted(kind: &str, place: &Path) -> Result<bool> {
    if is_mount(place)? {
        return Ok(false);
    }
    directory(place)?;
    step();
    mount(kind, place, kind, MountFlags::empty(), None).while_doing("mount", place)?;
    Ok(true)
}

pub fn is_mount(place: &Path) -> Result<bool> {
    let table = Path::new("/proc/self/mounts");
    let mounts = fs::read_to_string(table).while_doing("read", table)?;
    let wanted = escaped(&place.to_string_lossy());
    Ok(mounts.lines().any(|line| line.split(' ').nth(1) == Some(&wanted)))
}

/// As `/proc/mounts` and `etab` write a path.
pub(super) fn escaped(path: &str) -> String {
    path.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011").replace('\n', "\\012")
}

/// A program, or which package has it.
pub fn tool(name: &str, package: &str) -> Result<PathBuf> {
    let places = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"];
    places.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists()).ok_or_else(|| {
        FilerError::Unsupported(format!("`{name}` is missing: install Debian's package {package}"))
    })
}

/// Runs a tool to its end.
pub fn run(tool: &Path, arguments: &[String]) -> Result<()> {
    step();
    let done = Command::new(tool).args(arguments).stdin(Stdio::null()).env("LC_ALL", "C").output();
    let done = done.while_doing("run", tool)?;
    if done.status.success() {
        return Ok(());
    }
    Err(FilerError::Unsupported(format!(
        "{} {} failed: {}",
        tool.display(),
        arguments.join(" "),
        String::from_utf8_lossy(&done.stderr).trim()
    )))
}

/// Whether a process of this name runs.
pub(super) fn runs(name: &str) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        fs::read_to_string(process.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    })
}

/// Starts a service that puts itself in the background, unless it runs.
pub(super) fn service(name: &str, package: &str, arguments: &[&str]) -> Result<()> {
    let path = tool(name, package)?;
    if runs(name) {
        return Ok(());
    }
    step();
    // Its output is its own: a pipe would stay open as long as it runs.
    let mut command = Command::new(&path);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let done = command.status().while_doing("start", &path)?;
    if done.success() {
        return Ok(());
    }
    Err(FilerError::Unsupported(format!(
        "{} did not start ({done}): look at the system's log",
        path.display()
    )))
}
