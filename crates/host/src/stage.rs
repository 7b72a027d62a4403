//! The stage of a volume: the one place where it is mounted, and from which each reference is a bind.

mod abandon;
mod content;
mod directory;
mod encryption;
pub(crate) mod format;
mod image;
pub(crate) mod nfs;
mod unit;

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use model::{Bytes, LocalSource, Route, VolumeId};

use crate::device::busy;
use crate::encryption::Passphrases;
use crate::error::{Doing, HostError, Result};
use crate::filesystem::Tools;
use crate::host::{Attached, Attachment};
use crate::lock::{Locks, blocking};
use crate::mount::{self, Table};
use crate::sessions::Sessions;
use unit::Way;

pub(crate) use abandon::abandon;
pub(crate) use unit::{Patience, heal};

/// Where things of one volume lie.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) volume: VolumeId,
    pub(crate) mounts_root: PathBuf,
}

/// What becomes of what a node has not written yet when a volume is detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwritten {
    /// Or the volume stays.
    IsWritten,
    MayBeLost,
}

/// The stage's name among the references, none of which starts with a dot.
const STAGE: &str = ".stage";
/// Where the device of a unit is kept.
const MARKER: &str = ".device";
/// Says that the device is given as it is.
const RAW: &str = ".raw";
/// Where snapshots are shown inside a volume.
pub(crate) const SNAPSHOTS: &str = ".snapshot";

impl Places {
    pub(crate) fn directory(&self) -> PathBuf {
        self.mounts_root.join(self.volume.as_str())
    }

    pub(crate) fn stage(&self) -> PathBuf {
        self.directory().join(STAGE)
    }

    pub(crate) fn marker(&self) -> PathBuf {
        self.directory().join(MARKER)
    }

    pub(crate) fn raw(&self) -> PathBuf {
        self.directory().join(RAW)
    }

    pub(crate) fn reference(&self, reference: &str) -> PathBuf {
        self.directory().join(reference)
    }
}

/// Makes the stage of a volume, or its bare device.
pub(crate) async fn attach(
    places: &Places,
    route: &Route,
    wanted: &Attachment,
    tools: &Tools,
    images: &Locks<(u64, u64)>,
    sessions: &Sessions,
) -> Result<Attached> {
    if wanted.encryption.is_some() {
        check_encryptable(places, route, wanted)?;
    }
    match route {
        Route::Local { source: LocalSource::Directory { path, snapshots } } => {
            let (places, path, snapshots) = (places.clone(), path.clone(), snapshots.clone());
            let wanted = wanted.clone();
            blocking(&tools.hold, move || directory::attach(&places, &path, snapshots.as_deref(), &wanted))
                .await
        }
        Route::Local { source: LocalSource::Image { path } } => {
            image::attach(places, path, wanted, tools, images).await
        }
        Route::Nfs(route) => nfs::attach(places, route, wanted, tools).await,
        Route::Iscsi(route) => unit::attach(places, Way::Disk(route), wanted, tools, sessions).await,
        Route::Nvme(route) => unit::attach(places, Way::Namespace(route), wanted, tools, sessions).await,
    }
}

/// What would come out in the open is refused.
fn check_encryptable(places: &Places, route: &Route, wanted: &Attachment) -> Result<()> {
    let is_directory =
        matches!(route, Route::Nfs(_) | Route::Local { source: LocalSource::Directory { .. } });
    let problem = if is_directory {
        "a directory cannot be encrypted on the node; make it a block volume"
    } else if wanted.filesystem.is_none() {
        "a raw device cannot be encrypted on the node; give the volume a filesystem"
    } else {
        return Ok(());
    };
    Err(HostError::Unsupported { volume: places.volume.clone(), problem: problem.to_owned() })
}

/// Takes down the stage and what is behind it. The caller has seen that no reference is left.
pub(crate) async fn detach(
    places: &Places,
    unwritten: Unwritten,
    tools: &Tools,
    sessions: &Sessions,
) -> Result<()> {
    if unwritten == Unwritten::MayBeLost {
        unit::stop_waiting(places, tools).await?;
    }
    let at = places.clone();
    let is_directory = blocking(&tools.hold, move || {
        let table = Table::read()?;
        // Seen from its mount, a directory needs no search through all loop devices.
        let staged = table.at(&at.stage());
        let is_nfs = staged.is_some_and(nfs::is_nfs);
        let is_directory = is_nfs || staged.is_some_and(|staged| staged.root != Path::new("/"));
        match unwritten {
            Unwritten::IsWritten if is_nfs => nfs::flush(&at),
            Unwritten::MayBeLost if is_nfs => nfs::give_up(&at),
            Unwritten::IsWritten | Unwritten::MayBeLost => {}
        }
        if is_nfs {
            nfs::unmount(&at)?
        } else {
            unmount(&at, &at.stage())?
        }
        Ok(is_directory)
    })
    .await?;
    if !is_directory {
        encryption::close(places, unwritten, tools).await?;
        unit::release(places, unwritten, tools, sessions).await?;
    }
    let at = places.clone();
    blocking(&tools.hold, move || {
        if !is_directory {
            image::release(&at)?;
        }
        remove_empty(&at.directory())
    })
    .await
}

/// Extends the device of a volume, and the filesystem on it if one is mounted, to `size`.
pub(crate) async fn grow(
    places: &Places,
    size: Bytes,
    passphrases: Option<&Passphrases>,
    tools: &Tools,
) -> Result<()> {
    match unit::marked(places)? {
        Some(device) => unit::grow(places, &device, size, passphrases, tools).await,
        None => image::grow(places, size, passphrases, tools).await,
    }
}

/// The device of a unit that a volume was given as.
pub(crate) fn raw(places: &Places) -> Result<Option<PathBuf>> {
    let device = unit::marked(places)?.filter(|_| places.raw().exists());
    Ok(device.map(|device| Path::new("/dev").join(device)))
}

/// Unmounts with all that lies below, and says who is in the way.
pub(crate) fn unmount(places: &Places, point: &Path) -> Result<()> {
    match mount::unmount(point) {
        Ok(()) => Ok(()),
        Err((at, error)) if error.kind() == io::ErrorKind::ResourceBusy => Err(HostError::Busy {
            volume: places.volume.clone(),
            holders: busy::describe(&busy::of_mount(&at)),
            subject: format!("the mount {}", at.display()),
        }),
        Err((at, error)) => Err(error).doing(|| format!("unmount {}", at.display())),
    }
}

/// Removes empty directories that nothing is mounted on, down from `directory`; anything else stays.
pub(crate) fn remove_empty(directory: &Path) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.doing(|| format!("list {}", directory.display()))?,
    };
    for entry in entries.flatten() {
        // `rmdir` refuses what is not an empty directory, and mount points: exactly what shall stay.
        let _ = fs::remove_dir(entry.path());
    }
    let _ = fs::remove_dir(directory);
    Ok(())
}

pub(crate) fn make_directory(path: &Path) -> Result<()> {
    match fs::create_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            Err(e).doing(|| format!("make the directory {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Gives the root of a volume its mode, once: later it is the user's to change.
fn set_mode(stage: &Path, wanted: &Attachment) -> Result<()> {
    let Some(mode) = wanted.permissions.filter(|_| !wanted.staged_before && !wanted.read_only) else {
        return Ok(());
    };
    let doing = || format!("set the mode of {}", stage.display());
    if fs::metadata(stage).doing(doing)?.permissions().mode() & 0o7777 == mode {
        return Ok(());
    }
    fs::set_permissions(stage, fs::Permissions::from_mode(mode)).doing(doing)
}

/// Whether two paths lead to the same directory now.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path| fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    identity(one).is_some_and(|one| identity(other) == Some(one))
}

fn check_read_only(places: &Places, staged: &mount::Entry, wanted: bool) -> Result<()> {
    if staged.is_read_only() == wanted {
        return Ok(());
    }
    let now = if wanted { "for writing" } else { "read-only" };
    Err(HostError::Conflict {
        volume: places.volume.clone(),
        problem: format!("it is attached {now}; unmount all of it and detach it first"),
    })
}

/// The names mounted in the directory of a volume, other than what is ours.
pub(crate) fn references(table: &Table, places: &Places) -> std::collections::BTreeSet<String> {
    let directory = places.directory();
    let direct = table.below(&directory).filter_map(|e| e.point.strip_prefix(&directory).ok()?.to_str());
    direct.filter(|name| !name.contains('/') && !name.starts_with('.')).map(str::to_owned).collect()
}
