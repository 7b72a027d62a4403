//! Loop devices by ioctl.
//!
//! Each device of ours carries a tag in the name field that the kernel keeps for us; that is how a fresh process
//! knows its own.

mod ioctl;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model::{Bytes, VolumeId};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::image::Image;
use super::luks::Header;
use crate::error::{Doing, HostError, Result};

/// Whose a loop device is, as written on it: which mounts root, which volume, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    root: u64,
    volume: u64,
    pub(crate) purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Filesystem,
    Raw,
}

/// A loop device with something behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loop {
    pub(crate) number: u32,
    /// Device and inode of the backing file.
    pub(crate) backing: (u64, u64),
    pub(crate) tag: Option<Tag>,
    pub(crate) read_only: bool,
    /// Goes away by itself with its last user.
    pub(crate) leaving: bool,
    whole: bool,
}

const DEVICES: &str = "/sys/block";
const LOOP_MAJOR: u32 = 7;
pub(crate) const SECTOR: u64 = 512;
/// How long a device may be held while it is released: something like udev may be looking at it right now, and the
/// mounts of a container that has just ended go a little later than it does.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);
/// How long another process may be busy with the same image.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

impl Tag {
    pub(crate) fn new(mounts_root: &Path, volume: &VolumeId, purpose: Purpose) -> Tag {
        Tag { root: Tag::root(mounts_root), volume: fingerprint(volume.as_str().as_bytes()), purpose }
    }

    /// Of what is made for a volume in a namespace of the kernel that all share.
    pub(crate) fn name(mounts_root: &Path, volume: &VolumeId) -> String {
        format!("leister-{:016x}-{:016x}", Tag::root(mounts_root), fingerprint(volume.as_str().as_bytes()))
    }

    pub(crate) fn root(mounts_root: &Path) -> u64 {
        fingerprint(mounts_root.as_os_str().as_encoded_bytes())
    }

    pub(crate) fn is_below(&self, mounts_root: &Path) -> bool {
        self.root == Tag::root(mounts_root)
    }

    fn is_same_volume(&self, other: &Tag) -> bool {
        (self.root, self.volume) == (other.root, other.volume)
    }

    fn text(&self) -> String {
        let purpose = match self.purpose {
            Purpose::Filesystem => 'f',
            Purpose::Raw => 'r',
        };
        format!("leister:{:016x}:{:016x}:{purpose}", self.root, self.volume)
    }

    fn parse(text: &str) -> Option<Tag> {
        let mut parts = text.strip_prefix("leister:")?.split(':');
        let root = u64::from_str_radix(parts.next()?, 16).ok()?;
        let volume = u64::from_str_radix(parts.next()?, 16).ok()?;
        let purpose = match parts.next()? {
            "f" => Purpose::Filesystem,
            "r" => Purpose::Raw,
            _ => return None,
        };
        Some(Tag { root, volume, purpose })
    }
}

impl Loop {
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/loop{}", self.number))
    }

    pub(crate) fn number_pair(&self) -> (u32, u32) {
        (LOOP_MAJOR, self.number)
    }

    /// The size the kernel gives the device.
    pub(crate) fn size(&self) -> Result<Bytes> {
        let path = sysfs(self.number).join("size");
        let text = std::fs::read_to_string(&path).doing(|| format!("read {}", path.display()))?;
        let sectors: u64 =
            text.trim().parse().map_err(io::Error::other).doing(|| format!("read {}", path.display()))?;
        Ok(Bytes::new(sectors * SECTOR))
    }

    /// Where the kernel says the backing file is now.
    pub(crate) fn backing_path(&self) -> Option<String> {
        let text = std::fs::read_to_string(sysfs(self.number).join("loop/backing_file")).ok()?;
        Some(text.trim_end_matches('\n').to_owned())
    }

    /// Opens the device.
    pub(crate) fn open(&self, write: bool) -> Result<File> {
        let path = self.path();
        OpenOptions::new().read(true).write(write).open(&path).doing(|| format!("open {}", path.display()))
    }

    /// Opens the device alone: `None` while a filesystem or another device sits on it, in whatever namespace.
    pub(crate) fn open_alone(&self) -> Result<Option<File>> {
        let path = self.path();
        let flags = i32::try_from(OFlags::EXCL.bits()).unwrap_or_default();
        match OpenOptions::new().read(true).write(!self.read_only).custom_flags(flags).open(&path) {
            Err(e) if Errno::from_io_error(&e) == Some(Errno::BUSY) => Ok(None),
            opened => Ok(Some(opened.doing(|| format!("open {} alone", path.display()))?)),
        }
    }

    /// Takes over the present size of the backing file.
    pub(crate) fn refresh_size(&self) -> Result<()> {
        let device = self.open(false)?;
        ioctl::set_capacity(&device).doing(|| format!("give {} its new size", self.path().display()))
    }

    /// Keeps the device when its last user goes.
    pub(crate) fn stay(&self) -> Result<()> {
        let device = self.open(false)?;
        ioctl::set_staying(&device).doing(|| format!("keep {}", self.path().display()))
    }

    /// Flushes and detaches.
    ///
    /// # Behavior
    /// `false` when somebody holds the device: then it is still there, or goes when they do. Gone already is as
    /// good as done.
    pub(crate) fn release(&self) -> Result<bool> {
        let doing = || format!("detach {}", self.path().display());
        let is_there =
            || Ok::<_, HostError>(find_number(self.number)?.is_some_and(|now| now.backing == self.backing));
        if !is_there()? {
            return Ok(true);
        }
        let ours = self.backing_path();
        let deadline = Instant::now() + RELEASE_LIMIT;
        let wait = || {
            std::thread::park_timeout(Duration::from_millis(1));
            Instant::now() < deadline
        };
        let device = loop {
            match self.open_alone()? {
                Some(device) => break device,
                None if wait() => {}
                None => return Ok(false),
            }
        };
        // Only now that it is open can its number not become another's.
        if !is_there()? {
            return Ok(true);
        }
        if !self.read_only {
            device.sync_all().doing(|| format!("flush {}", self.path().display()))?;
        }
        match ioctl::clear(&device) {
            Ok(()) | Err(Errno::NXIO) => {}
            Err(Errno::BUSY) => return Ok(false),
            Err(error) => return Err(error).doing(doing),
        }
        drop(device);
        // The number may be another's the moment it is free.
        while ours.is_some() && self.backing_path() == ours {
            if !wait() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// All loop devices that have something behind them.
pub(crate) fn list() -> Result<Vec<Loop>> {
    let entries = std::fs::read_dir(DEVICES).doing(|| format!("list {DEVICES}"))?;
    let mut loops = Vec::new();
    for entry in entries {
        let name = entry.doing(|| format!("list {DEVICES}"))?.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix("loop")).and_then(|n| n.parse().ok());
        if let Some(number) = number
            && let Some(found) = find_number(number)?
        {
            loops.push(found);
        }
    }
    loops.sort_by_key(|l| l.number);
    Ok(loops)
}

/// The devices with an image behind them; more than one is a mistake somebody made.
pub(crate) fn find_image(image: &Image) -> Result<Vec<Loop>> {
    let backing = (image.identity.device, image.identity.inode);
    Ok(list()?.into_iter().filter(|l| l.backing == backing).collect())
}

/// The device of a volume, whatever image is behind it.
pub(crate) fn find_volume(mounts_root: &Path, volume: &VolumeId) -> Result<Option<Loop>> {
    let wanted = Tag::new(mounts_root, volume, Purpose::Raw);
    Ok(list()?.into_iter().find(|l| l.tag.as_ref().is_some_and(|t| t.is_same_volume(&wanted))))
}

/// The one loop device of an image, attached if it is not.
///
/// # Behavior
/// Other processes of ours are kept out by a lock on the image while we look and attach. A stranger who was
/// quicker is noticed: then ours is taken back.
///
/// # Errors
/// `Conflict` when the image is attached by somebody else, in part, or for another volume.
pub(crate) fn attach(volume: &VolumeId, image: &Image, tag: &Tag, read_only: bool) -> Result<Loop> {
    let _lock = lock(volume, image)?;
    if let Some(found) = find_image(image)?.into_iter().next() {
        return adopt(volume, image, tag, read_only, found);
    }
    let made = configure(image, tag, read_only)?;
    match find_image(image)?.into_iter().find(|l| l.number != made.number) {
        Some(other) => {
            made.release()?;
            adopt(volume, image, tag, read_only, other)
        }
        None => Ok(made),
    }
}

/// Through a description of its own: the loop device keeps the image's, and with it would keep the lock.
fn lock(volume: &VolumeId, image: &Image) -> Result<File> {
    let doing = || format!("lock the image {}", image.path.display());
    let file = File::open(format!("/proc/self/fd/{}", image.file.as_raw_fd())).doing(doing)?;
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(HostError::Busy {
                    volume: volume.clone(),
                    subject: format!("its image {}", image.path.display()),
                    holders: "a process that has locked it (see `lslocks`)".to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(error).doing(doing),
        }
    }
}

fn adopt(volume: &VolumeId, image: &Image, tag: &Tag, read_only: bool, found: Loop) -> Result<Loop> {
    let device = found.path();
    let conflict = |problem: String| HostError::Conflict { volume: volume.clone(), problem };
    match &found.tag {
        Some(theirs) if theirs == tag => {}
        Some(theirs) if theirs.is_same_volume(tag) => {
            return Err(conflict(format!(
                "{} is attached as {}; detach the volume first",
                device.display(),
                if theirs.purpose == Purpose::Raw { "a raw device" } else { "a filesystem" }
            )));
        }
        _ => {
            return Err(conflict(format!(
                "its image {path} is attached already, as {device} by somebody else; end that use, then \
                 `losetup -d {device}`",
                path = image.path.display(),
                device = device.display()
            )));
        }
    }
    if !found.whole {
        return Err(conflict(format!(
            "{} shows only a part of its image; detach the volume first",
            device.display()
        )));
    }
    if found.read_only != read_only {
        let now = if found.read_only { "read-only" } else { "for writing" };
        return Err(conflict(format!("it is attached {now}; unmount all of it and detach it first")));
    }
    if found.leaving {
        found.stay()?;
    }
    Ok(found)
}

fn configure(image: &Image, tag: &Tag, read_only: bool) -> Result<Loop> {
    const TRIES: usize = 64;
    let doing = || format!("attach {} as a loop device", image.path.display());
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control").doing(doing)?;
    let block_size = block_size(image).doing(doing)?;
    for _ in 0..TRIES {
        let number = ioctl::free_number(&control).doing(doing)?;
        let path = format!("/dev/loop{number}");
        let device = OpenOptions::new().read(true).write(!read_only).open(&path).doing(doing)?;
        match ioctl::configure(&device, &image.file, &tag.text(), block_size, read_only) {
            Ok(()) => {
                return find_number(number)?.ok_or_else(|| io::Error::other("it vanished")).doing(doing);
            }
            // Another was quicker.
            Err(Errno::BUSY) => {}
            Err(error) => return Err(error).doing(doing),
        }
    }
    Err(io::Error::other("others keep taking the free ones")).doing(doing)
}

/// 4 KiB lets direct I/O work above any disk; content that was laid out in smaller blocks keeps them.
fn block_size(image: &Image) -> io::Result<u32> {
    const USUAL: u32 = 4096;
    const SMALLEST: u32 = 512;
    let smaller = crate::filesystem::Superblock::read(&image.file)?.is_some_and(|s| s.smallest_block < USUAL);
    // What is behind a header was laid out in sectors of the header's size.
    let smaller = smaller || Header::read(&image.file)?.is_some_and(|h| h.sector_size < u64::from(USUAL));
    let odd = image.file.metadata()?.len() % u64::from(USUAL) != 0;
    Ok(if smaller || odd { SMALLEST } else { USUAL })
}

fn find_number(number: u32) -> Result<Option<Loop>> {
    if !sysfs(number).join("loop/backing_file").exists() {
        return Ok(None);
    }
    let path = format!("/dev/loop{number}");
    let doing = || format!("look at {path}");
    let device = match File::open(&path) {
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::NXIO | Errno::NOENT)) => return Ok(None),
        opened => opened.doing(doing)?,
    };
    match ioctl::status(&device) {
        Ok(status) => Ok(Some(Loop {
            number,
            backing: (status.device, status.inode),
            tag: Tag::parse(&status.name),
            read_only: status.read_only,
            leaving: status.autoclear,
            whole: status.whole,
        })),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error).doing(doing),
    }
}

fn sysfs(number: u32) -> PathBuf {
    Path::new(DEVICES).join(format!("loop{number}"))
}

/// FNV-1a: short, and the same in every release.
fn fingerprint(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_being_written_on_a_device() {
        let volume = VolumeId::new("v".repeat(200)).unwrap();
        for purpose in [Purpose::Filesystem, Purpose::Raw] {
            let tag = Tag::new(Path::new("/var/lib/leister/mounts"), &volume, purpose);
            assert!(tag.text().len() < 64, "{}", tag.text());
            assert_eq!(Tag::parse(&tag.text()), Some(tag));
        }
        assert_eq!(Tag::parse("/var/lib/images/a.img"), None);
    }
}
