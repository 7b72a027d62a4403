//! The file a pool lives in: made, attached as a loop device, mounted.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use model::Bytes;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::error::{Context, FilerError, Result};
use crate::ioctl::loops;
use crate::pool::{Image, lock, mounts};

/// Smaller file systems have no room left beside their own structures.
const MIN_SIZE: Bytes = Bytes::mib(256);
const MAGIC: &[u8; 8] = b"_BHRfS_M";
const MAGIC_AT: u64 = 0x1_0040;
/// Deleted subvolumes are freed, and unflushed writes kept, at this interval in seconds.
const MOUNT_DATA: &std::ffi::CStr = c"commit=5";

pub(super) fn lock(image: &Image) -> Result<File> {
    if let Some(dir) = image.path.parent() {
        fs::create_dir_all(dir).while_doing("create directory", dir)?;
    }
    lock::take(&beside(&image.path, "lock"), &image.path)
}

/// Makes the image and its file system, unless they are there. The caller holds the image's lock.
pub(super) fn make(image: &Image) -> Result<()> {
    if image.path.exists() {
        if holds_btrfs(&image.path)? {
            return Ok(());
        }
        prove_blank(&image.path)?;
    }
    if image.size < MIN_SIZE {
        return Err(FilerError::Invalid(format!(
            "pool size {} is too small; give at least {MIN_SIZE}",
            image.size
        )));
    }
    // Formatted under another name, so that a death in the middle leaves no half-made pool.
    let making = beside(&image.path, "making");
    // A new file each time: a formatter that outlived its leister may still write to the old one.
    match fs::remove_file(&making) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).while_doing("remove", &making),
        _ => {}
    }
    // For root's eyes only: it holds every volume's data.
    let mut options = File::options();
    let file =
        options.write(true).create_new(true).mode(0o600).open(&making).while_doing("create", &making)?;
    file.set_len(image.size.get()).while_doing("size", &making)?;
    if image.preallocate {
        fallocate(&file, FallocateFlags::empty(), 0, image.size.get()).while_doing("allocate", &making)?;
    }
    format(&making)?;
    file.sync_all().while_doing("sync", &making)?;
    fs::rename(&making, &image.path).while_doing("rename", &making)?;
    let dir = image.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).while_doing("sync", dir)
}

/// Mounts the image at `path`; finds it attached or mounted from before, and never attaches it twice.
pub(super) fn mount(image: &Path, path: &Path) -> Result<()> {
    if let Some(mount) = mounts::at(path)? {
        return check_mount(&mount, image, path);
    }
    if !holds_btrfs(image)? {
        return Err(FilerError::Unsupported(format!(
            "image {} holds no btrfs pool; check the path, or move the file away and make a new pool",
            image.display()
        )));
    }
    let mut entries = fs::read_dir(path).while_doing("list", path)?;
    if entries.next().is_some() {
        return Err(FilerError::Conflict(format!(
            "directory {} is not empty, the pool would hide what is in it; move it away or use another directory",
            path.display()
        )));
    }
    let (name, _device) = attach(image)?;
    let device = format!("/dev/{name}");
    rustix::mount::mount(&device, path, "btrfs", MountFlags::NOATIME, MOUNT_DATA)
        .while_doing("mount the pool at", path)
}

/// Unmounts; the loop device lets go of the image by itself, one attached by others is told to.
pub(super) fn unmount(path: &Path, image: &Path) -> Result<()> {
    match rustix::mount::unmount(path, UnmountFlags::empty()) {
        Ok(()) => {}
        Err(Errno::BUSY) => {
            return Err(FilerError::InUse(format!(
                "pool {} is in use; stop the containers and unmount the volumes on it first",
                path.display()
            )));
        }
        Err(e) => return Err(e).while_doing("unmount", path),
    }
    let Some((name, device)) = attached(image)? else { return Ok(()) };
    match loops::detach(device) {
        // Gone by itself in the meantime.
        Ok(()) | Err(Errno::NXIO) => Ok(()),
        Err(e) => Err(e).while_doing("detach", Path::new("/dev").join(name)),
    }
}

fn check_mount(mount: &mounts::Mount, image: &Path, path: &Path) -> Result<()> {
    let wanted = fs::canonicalize(image).while_doing("resolve", image)?;
    match mounts::backing(&mount.device) {
        Some(_) if mounts::has_behind(&mount.device, image)? => Ok(()),
        Some(file) => Err(FilerError::Conflict(format!(
            "{} is a mount of {}, not of {}; unmount it, or correct the pool's path",
            path.display(),
            file.display(),
            wanted.display()
        ))),
        None => Err(FilerError::Conflict(format!(
            "{} is a {} mount of {}, not of {}; if its loop device has vanished unmount it and open the pool again, \
             otherwise correct the pool's path",
            path.display(),
            mount.kind,
            mount.device,
            wanted.display()
        ))),
    }
}

/// The device stays attached while the returned file is open or it is mounted.
fn attach(image: &Path) -> Result<(String, File)> {
    if let Some(found) = attached(image)? {
        return Ok(found);
    }
    let file = File::options().read(true).write(true).open(image).while_doing("open", image)?;
    let control = "/dev/loop-control";
    let control = File::options().read(true).write(true).open(control).while_doing("open", control)?;
    // Another process can take the free device between the two calls.
    for _ in 0..64 {
        let number = loops::free_number(&control).while_doing("find a free loop device for", image)?;
        let name = format!("loop{number}");
        let path = Path::new("/dev").join(&name);
        let device = File::options().read(true).write(true).open(&path).while_doing("open", path)?;
        match loops::attach(&device, &file) {
            Ok(()) => return Ok((name, device)),
            Err(Errno::BUSY) => {}
            Err(e) => return Err(e).while_doing("attach", image),
        }
    }
    Err(Errno::BUSY).while_doing("find a free loop device for", image)
}

/// The device that has the image behind it, opened. One that is letting go may be another image's by the time it is
/// opened; an open one stays as it is.
fn attached(image: &Path) -> Result<Option<(String, File)>> {
    let Some(name) = mounts::loop_of(image)? else { return Ok(None) };
    let path = Path::new("/dev").join(&name);
    let device = File::open(&path).while_doing("open", path)?;
    Ok((mounts::loop_of(image)?.as_ref() == Some(&name)).then_some((name, device)))
}

fn holds_btrfs(image: &Path) -> Result<bool> {
    let file = File::open(image).while_doing("open", image)?;
    let kind = file.metadata().while_doing("look at", image)?;
    if !kind.is_file() {
        return Err(FilerError::Unsupported(format!(
            "{} is not a regular file; for a disk, make a btrfs on it, mount it and give its directory",
            image.display()
        )));
    }
    let mut magic = [0; 8];
    Ok(file.read_exact_at(&mut magic, MAGIC_AT).is_ok() && &magic == MAGIC)
}

fn prove_blank(image: &Path) -> Result<()> {
    let mut file = File::open(image).while_doing("open", image)?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        at = match rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => return Ok(()),
            Err(e) => return Err(e).while_doing("read", image),
        };
        file.seek(SeekFrom::Start(at)).while_doing("read", image)?;
        let n = file.read(&mut buffer).while_doing("read", image)?;
        if let Some(first) = buffer[..n].iter().position(|byte| *byte != 0) {
            return Err(FilerError::Conflict(format!(
                "image {} is not blank (data at byte {}) and is no btrfs pool; it is left as it is: move it away, \
                 or give the pool another path",
                image.display(),
                at + first as u64
            )));
        }
        at += n as u64;
    }
}

fn format(image: &Path) -> Result<()> {
    // A file of this size is formatted in well under a second; no limit beyond `timeout`'s own is needed.
    let output = Command::new("timeout")
        .args(["--kill-after=5", "60", "mkfs.btrfs", "-q", "-L", "leister"])
        .arg(image)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .while_doing("run mkfs.btrfs for", image)?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let missing = output.status.code() == Some(127);
    Err(FilerError::Unsupported(if missing {
        "mkfs.btrfs is not installed; install the package btrfs-progs".to_owned()
    } else {
        format!("mkfs.btrfs failed for {}: {}", image.display(), words.trim())
    }))
}

fn beside(image: &Path, suffix: &str) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}
