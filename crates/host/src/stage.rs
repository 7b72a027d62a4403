//! The stage of a volume: the one place where it is mounted, and from which each reference is a bind.

mod content;
mod directory;
pub(crate) mod format;
mod image;
mod remote;

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use model::{Bytes, LocalSource, Route, VolumeId};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::device::{Device, busy};
use crate::error::{Doing, HostError, Result};
use crate::filesystem::Tools;
use crate::host::{Attached, Attachment};
use crate::lock::{Locks, blocking};
use crate::mount::{self, Table};
use crate::wire::nfs;

use remote::Wire;

/// Where things of one volume lie.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) volume: VolumeId,
    pub(crate) mounts_root: PathBuf,
}

/// The stage's name among the references, none of which starts with a dot.
pub(crate) const STAGE: &str = ".stage";
/// Where snapshots are shown inside a volume.
pub(crate) const SNAPSHOTS: &str = ".snapshot";

impl Places {
    pub(crate) fn directory(&self) -> PathBuf {
        self.mounts_root.join(self.volume.as_str())
    }

    pub(crate) fn stage(&self) -> PathBuf {
        self.directory().join(STAGE)
    }

    pub(crate) fn reference(&self, reference: &str) -> PathBuf {
        self.directory().join(reference)
    }
}

/// Locks over what volumes share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// By device and inode of the file.
    pub(crate) images: Locks<(u64, u64)>,
    /// By the target's name.
    pub(crate) targets: Locks<String>,
}

/// Makes the stage of a volume, or its bare device.
pub(crate) async fn attach(
    places: &Places,
    route: &Route,
    wanted: &Attachment,
    tools: &Tools,
    shared: &Shared,
) -> Result<Attached> {
    match route {
        Route::Local { source: LocalSource::Directory { path, snapshots } } => {
            let (places, path, snapshots) = (places.clone(), path.clone(), snapshots.clone());
            let wanted = wanted.clone();
            blocking(&tools.hold, move || directory::attach(&places, &path, snapshots.as_deref(), &wanted))
                .await
        }
        Route::Local { source: LocalSource::Image { path } } => {
            image::attach(places, path, wanted, tools, &shared.images).await
        }
        Route::Nfs(route) => nfs::attach(places, route, wanted, tools).await,
        Route::Iscsi(route) => {
            remote::attach(places, Wire::Iscsi(route), wanted, tools, &shared.targets).await
        }
        Route::Nvme(route) => remote::attach(places, Wire::Nvme(route), wanted, tools, &shared.targets).await,
    }
}

/// Takes down the stage and what is behind it. The caller has seen that no reference is left.
///
/// # Errors
/// An unmount that does not end (its server or device does not answer) is given up at the limit.
pub(crate) async fn detach(places: &Places, tools: &Tools, shared: &Shared) -> Result<()> {
    let staged = {
        let places = places.clone();
        blocking(&tools.hold, move || {
            let table = Table::read()?;
            let staged =
                table.at(&places.stage()).map(|s| (s.root.clone(), s.filesystem.clone(), s.source.clone()));
            Ok(staged)
        })
        .await?
    };
    {
        let places = places.clone();
        let work = blocking(&tools.hold, move || unmount(&places, &places.stage()));
        tokio::time::timeout(tools.limits.quick, work).await.unwrap_or_else(|_| {
            Err(HostError::System {
                doing: "unmount the volume".to_owned(),
                hint: "its storage does not answer; wait for it, or detach by force and lose what was not written"
                    .to_owned(),
                source: io::ErrorKind::TimedOut.into(),
            })
        })?;
    }
    let source = staged.as_ref().map(|(_, _, source)| source.as_os_str());
    if let Some(name) = source.and_then(remote::name_of_source) {
        remote::release(places, &name, tools, &shared.targets).await?;
    }
    let places = places.clone();
    blocking(&tools.hold, move || {
        // Seen from its mount, a directory or export needs no search through all loop devices.
        let has_loop =
            staged.is_none_or(|(root, kind, _)| root == Path::new("/") && !kind.starts_with("nfs"));
        if has_loop {
            image::release(&places)?;
        }
        remove_empty(&places.directory())
    })
    .await
}

/// Gives up the mounts of a volume whose storage does not answer: waiting calls fail, and the mounts go when their
/// last user does.
pub(crate) fn abandon(places: &Places) -> Result<()> {
    let table = Table::read()?;
    let directory = places.directory();
    for mount in table.below(&directory).collect::<Vec<_>>().into_iter().rev() {
        // Ends what waits for a server, and so an unmount that hangs.
        let _ = rustix::mount::unmount(&mount.point, UnmountFlags::FORCE | UnmountFlags::NOFOLLOW);
        let lazy = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        match rustix::mount::unmount(&mount.point, lazy) {
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(error).doing(|| format!("unmount {} by force", mount.point.display())),
        }
    }
    Ok(())
}

/// Extends the device of a volume, and the filesystem on it if one is mounted, to `size`.
pub(crate) async fn grow(places: &Places, size: Bytes, tools: &Tools) -> Result<()> {
    let (device, staged) = {
        let places = places.clone();
        blocking(&tools.hold, move || {
            let table = Table::read()?;
            let staged = table.at(&places.stage());
            let of_kind = staged.map(|e| (e.filesystem.clone(), e.is_read_only()));
            if let Some(name) = staged.and_then(|e| remote::name_of_source(&e.source)) {
                return Ok((Some(Path::new("/dev").join(name)), of_kind));
            }
            if of_kind.as_ref().is_some_and(|(kind, _)| kind.starts_with("nfs")) {
                return Ok((None, of_kind));
            }
            let device = image::refresh(&places, size)?.map(|d| d.path());
            if device.is_none() && of_kind.is_none() {
                return Err(HostError::NotAttached(places.volume));
            }
            Ok((device, of_kind))
        })
        .await?
    };
    let Some(device) = device else { return Ok(()) };
    if let Some(name) = remote::name_of_source(device.as_os_str()) {
        remote::grow(places, &name, size, tools).await?;
    }
    match staged {
        Some((filesystem, false)) => content::grow(places, &filesystem, &device, size, tools).await,
        _ => Ok(()),
    }
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
pub(crate) fn set_mode(stage: &Path, wanted: &Attachment) -> Result<()> {
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

pub(crate) fn check_read_only(places: &Places, staged: &mount::Entry, wanted: bool) -> Result<()> {
    if staged.is_read_only() == wanted {
        return Ok(());
    }
    let now = if wanted { "for writing" } else { "read-only" };
    Err(HostError::Conflict {
        volume: places.volume.clone(),
        problem: format!("it is attached {now}; unmount all of it and detach it first"),
    })
}

/// The names mounted in the directory of a volume, other than its stage.
pub(crate) fn references(table: &Table, places: &Places) -> std::collections::BTreeSet<String> {
    let directory = places.directory();
    let direct = table.below(&directory).filter_map(|e| e.point.strip_prefix(&directory).ok()?.to_str());
    direct.filter(|name| !name.contains('/') && *name != STAGE).map(str::to_owned).collect()
}
