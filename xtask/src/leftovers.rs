//! Mounts, loop devices and processes below our folders: listed after tests, undone by `clean`.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::mount::UnmountFlags;

use crate::checkout::Checkout;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leftover {
    Mount(PathBuf),
    /// A loop device and the file behind it.
    Loop(PathBuf, PathBuf),
    Process(u32, String),
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount(target) => write!(f, "mount {}", target.display()),
            Self::Loop(device, file) => write!(f, "loop device {} on {}", device.display(), file.display()),
            Self::Process(pid, command) => write!(f, "process {pid}: {command}"),
        }
    }
}

pub(crate) fn command(checkout: &Checkout) -> Result<()> {
    none(&find(&checkout.ours()))
}

/// Fails with a list unless there are none.
pub(crate) fn none(found: &[Leftover]) -> Result<()> {
    let list: Vec<_> = found.iter().map(|leftover| format!("\n  {leftover}")).collect();
    ensure!(found.is_empty(), "left behind:{}", list.concat());
    Ok(())
}

/// Removes `./var` and the folder of temporary files, with what is mounted and attached there.
pub(crate) fn clean(checkout: &Checkout) -> Result<()> {
    checkout.ours().iter().try_for_each(|folder| sweep(folder))
}

/// Everything below the folders that outlived what made it.
pub(crate) fn find(folders: &[PathBuf]) -> Vec<Leftover> {
    let ours = |path: &Path| folders.iter().any(|folder| path.starts_with(folder));
    let loops: Vec<_> = loops().into_iter().filter(|(_, file)| ours(file)).collect();
    let devices: BTreeSet<_> = loops.iter().map(|(device, _)| device.clone()).collect();
    let mounts = mounts().into_iter().filter(|mount| ours(&mount.target) || devices.contains(&mount.source));
    let mounts = mounts.map(|mount| Leftover::Mount(mount.target));
    let processes = processes().into_iter().filter(|process| process.words().any(&ours));
    let processes = processes.map(|process| Leftover::Process(process.pid, process.command));
    let loops = loops.into_iter().map(|(device, file)| Leftover::Loop(device, file));
    processes.chain(mounts).chain(loops).collect()
}

/// Unmounts and detaches what an interrupted run left below a folder, then removes it.
///
/// # Errors
/// When a process still works there, or something cannot be undone. Nothing is removed then: a folder that is
/// still mounted holds somebody's data.
pub(crate) fn sweep(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let folders = [folder.to_path_buf()];
    let found = find(&folders);
    if let Some(process) = found.iter().find(|leftover| matches!(leftover, Leftover::Process(..))) {
        bail!("{} is in use; stop it first: {process}", folder.display());
    }
    // Later mounts may stand on earlier ones.
    for leftover in found.iter().rev() {
        if let Leftover::Mount(target) = leftover {
            rustix::mount::unmount(target, UnmountFlags::empty())
                .or_else(|_| rustix::mount::unmount(target, UnmountFlags::DETACH))
                .with_context(|| format!("cannot unmount {}", target.display()))?;
        }
    }
    // The unmount may have detached some already; what counts is that none is left.
    for leftover in &found {
        if let Leftover::Loop(device, _) = leftover {
            let mut losetup = Command::new("losetup");
            losetup.arg("--detach").arg(device).stderr(Stdio::null());
            losetup.status().context("losetup did not start")?;
        }
    }
    let left =
        find(&folders).into_iter().filter(|left| matches!(left, Leftover::Mount(_) | Leftover::Loop(..)));
    none(&left.collect::<Vec<_>>())?;
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

/// Kills a process and all that descend from it, children first known by their parents.
pub(crate) fn kill_with_descendants(pid: u32) {
    let processes = processes();
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(processes.iter().filter(|process| process.parent == parent).map(|process| process.pid));
        next += 1;
    }
    for pid in family {
        let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { continue };
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

struct Mount {
    source: PathBuf,
    target: PathBuf,
}

fn mounts() -> Vec<Mount> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter_map(parse_mount).collect()
}

/// `36 35 98:0 /root /target rw,noatime master:1 - ext4 /dev/source rw`
fn parse_mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    Some(Mount { target: unescape(left.split(' ').nth(4)?), source: unescape(right.split(' ').nth(1)?) })
}

/// The kernel writes blanks in paths as octal: `\040`.
fn unescape(field: &str) -> PathBuf {
    let mut plain = String::new();
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('\\') {
        plain += before;
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(code.map_or('\\', char::from));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(plain + rest)
}

fn loops() -> Vec<(PathBuf, PathBuf)> {
    let device = |name: &str| {
        let file = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()?;
        let file = file.trim_end_matches('\n').trim_end_matches(" (deleted)");
        Some((Path::new("/dev").join(name), PathBuf::from(file)))
    };
    names("/sys/block")
        .iter()
        .filter(|name| name.starts_with("loop"))
        .filter_map(|name| device(name))
        .collect()
}

struct Process {
    pid: u32,
    parent: u32,
    command: String,
    folder: PathBuf,
}

impl Process {
    /// The paths by which a process says where it works.
    fn words(&self) -> impl Iterator<Item = &Path> {
        let words =
            self.command.split([' ', '=', ':', ',']).filter(|word| word.starts_with('/')).map(Path::new);
        words.chain([self.folder.as_path()])
    }
}

fn processes() -> Vec<Process> {
    let process = |name: &String| {
        let pid: u32 = name.parse().ok()?;
        let folder = PathBuf::from("/proc").join(name);
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        let mut after_name = stat.rsplit_once(") ")?.1.split(' ');
        // A zombie has ended; only its parent has not asked yet.
        let alive = after_name.next()? != "Z";
        let parent = after_name.next()?.parse().ok()?;
        let command = fs::read(folder.join("cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ").trim().to_owned();
        let folder = fs::read_link(folder.join("cwd")).unwrap_or_default();
        alive.then_some(Process { pid, parent, command, folder })
    };
    names("/proc").iter().filter_map(process).collect()
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_mount_table_is_read_with_its_escapes() {
        let line = r"36 35 98:0 / /srv/a\040b\134c rw,noatime master:1 - ext4 /dev/loop0 rw";
        let mount = parse_mount(line).unwrap();
        assert_eq!(mount.target, Path::new(r"/srv/a b\c"));
        assert_eq!(mount.source, Path::new("/dev/loop0"));
    }

    #[test]
    fn a_process_that_works_in_the_folder_is_found_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().to_path_buf()];
        let is_process = |left: &Leftover| matches!(left, Leftover::Process(..));
        assert!(!find(&folders).iter().any(is_process));
        let mut child = Command::new("sleep").arg("1000").current_dir(folder.path()).spawn().unwrap();
        let found = find(&folders);
        let swept = sweep(folder.path());
        kill_with_descendants(child.id());
        child.wait().unwrap();
        assert!(found.iter().any(|left| matches!(left, Leftover::Process(pid, _) if *pid == child.id())));
        assert!(swept.unwrap_err().to_string().contains("stop it first"));
        assert!(!find(&folders).iter().any(is_process));
    }

    #[test]
    fn what_is_mounted_and_attached_below_a_folder_is_found_and_swept() {
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists() {
            println!("skipped: needs root and loop devices");
            return;
        }
        let folder = tempfile::tempdir().unwrap().keep();
        let folders = [folder.clone()];
        let image = folder.join("image");
        fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let target = folder.join("a target");
        fs::create_dir(&target).unwrap();
        let run = |program: &str, arguments: &[&Path]| {
            assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program}");
        };
        run("mkfs.ext4", &[Path::new("-q"), &image]);
        run("mount", &[Path::new("-o"), Path::new("loop"), &image, &target]);
        let found = find(&folders);
        sweep(&folder).unwrap();
        assert!(found.contains(&Leftover::Mount(target)), "{found:?}");
        // `mount -o loop` has its device detached by the unmount.
        assert!(
            found.iter().any(|left| matches!(left, Leftover::Loop(_, file) if *file == image)),
            "{found:?}"
        );
        assert!(!folder.exists());
    }
}
