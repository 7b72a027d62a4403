//! Volumes shown where a container orchestrator wants them, as files or as a device.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use model::VolumeId;
use rustix::mount::MountAttrFlags;

use super::{Host, check_reference, is_replica, not_mountable};
use crate::error::{Doing, HostError, Result};
use crate::lock::blocking;
use crate::mount::{self, Depth, Entry, Table};
use crate::stage::{self, Places, format::FormatRecord};

/// What a user is given of a volume.
enum Source {
    Files(PathBuf),
    Device(PathBuf),
}

impl Host {
    /// Shows an attached volume at `target`, for `reference`: its files at a directory, a raw device at a file.
    ///
    /// # Behavior
    /// Makes the target. The reference is mounted in its own place too, as [`Host::mount`] does, so that it counts; a
    /// target shown already is left as it is. With `alone` no other reference may be there.
    ///
    /// # Errors
    /// `NotAttached`; `InUse` by others although it shall be alone; `Conflict` with what is at the target; `Invalid`
    /// reference or target.
    pub async fn show(
        &self,
        volume: &VolumeId,
        reference: &str,
        target: &Path,
        read_only: bool,
        alone: bool,
    ) -> Result<()> {
        check_reference(reference)?;
        check_target(target)?;
        let hold = self.0.volumes.hold(volume.clone()).await;
        let (places, reference, target) = (self.places(volume), reference.to_owned(), real(target));
        blocking(&hold, move || {
            let table = Table::read()?;
            if alone {
                let mut others = stage::references(&table, &places);
                others.remove(&reference);
                if !others.is_empty() {
                    return Err(HostError::InUse { volume: places.volume, references: others });
                }
            }
            let point = places.reference(&reference);
            let source = source(&places, &table)?;
            let is_new = table.at(&point).is_none();
            refer(&places, &table, &source, &point)?;
            FormatRecord::remove(&places.directory())?;
            let shown = put(&places, &source, &point, &target, read_only);
            if shown.is_err() && is_new {
                // Nobody would ever end a use that did not begin.
                stage::unmount(&places, &point)?;
                remove(&point)?;
            }
            shown
        })
        .await
    }

    /// Ends what [`Host::show`] did, removes the target, and says how many references are left.
    ///
    /// # Behavior
    /// What is not there is as good as ended.
    ///
    /// # Errors
    /// `Conflict` when something else is mounted at the target; `Busy` with who holds it.
    pub async fn hide(&self, volume: &VolumeId, reference: &str, target: &Path) -> Result<usize> {
        check_reference(reference)?;
        check_target(target)?;
        let hold = self.0.volumes.hold(volume.clone()).await;
        let (places, reference, target) = (self.places(volume), reference.to_owned(), real(target));
        blocking(&hold, move || {
            let table = Table::read()?;
            let point = places.reference(&reference);
            if let (Some(shown), Some(own)) = (table.at(&target), table.at(&point))
                && !is_same(shown, own)
            {
                return Err(foreign(&places, &target));
            }
            for point in [&target, &point] {
                stage::unmount(&places, point)?;
                remove(point)?;
            }
            Ok(stage::references(&Table::read()?, &places).len())
        })
        .await
    }

    /// Whether a volume is shown at `target` for `reference`.
    ///
    /// # Errors
    /// The mount table cannot be read.
    pub fn is_shown(&self, volume: &VolumeId, reference: &str, target: &Path) -> Result<bool> {
        let table = Table::read()?;
        let point = self.places(volume).reference(reference);
        let shown = table.at(&real(target)).zip(table.at(&point));
        Ok(shown.is_some_and(|(shown, own)| is_same(shown, own)))
    }
}

fn source(places: &Places, table: &Table) -> Result<Source> {
    if table.at(&places.stage()).is_some() {
        return Ok(Source::Files(places.stage()));
    }
    match super::raw_device(places)? {
        Some(device) => Ok(Source::Device(device)),
        None => Err(not_mountable(places)?),
    }
}

/// Mounts the reference in its own place.
fn refer(places: &Places, table: &Table, source: &Source, point: &Path) -> Result<()> {
    match source {
        Source::Files(stage) if is_replica(table, stage, point) => Ok(()),
        Source::Files(stage) => {
            stage::unmount(places, point)?;
            stage::make_directory(point)?;
            mount::bind(stage, point, Depth::All, MountAttrFlags::empty())
        }
        Source::Device(device) => {
            if is_device(point, device) {
                return Ok(());
            }
            stage::unmount(places, point)?;
            make_file(point)?;
            mount::bind_file(device, point)
        }
    }
}

fn put(places: &Places, source: &Source, point: &Path, target: &Path, read_only: bool) -> Result<()> {
    let table = Table::read()?;
    if let Some(shown) = table.at(target) {
        if !table.at(point).is_some_and(|own| is_same(shown, own)) {
            return Err(foreign(places, target));
        }
        let is_as_wished = matches!(source, Source::Device(_)) || shown.is_read_only() == read_only;
        if is_as_wished {
            return Ok(());
        }
        let now = if read_only { "for writing" } else { "read-only" };
        let problem = format!("it is shown at {} {now}; end that first", target.display());
        return Err(HostError::Conflict { volume: places.volume.clone(), problem });
    }
    match source {
        Source::Files(_) => {
            stage::make_directory(target)?;
            let attributes =
                if read_only { MountAttrFlags::MOUNT_ATTR_RDONLY } else { MountAttrFlags::empty() };
            mount::bind(point, target, Depth::All, attributes)
        }
        Source::Device(device) => {
            make_file(target)?;
            mount::bind_file(device, target)
        }
    }
}

fn is_same(one: &Entry, other: &Entry) -> bool {
    (one.device, &one.root) == (other.device, &other.root)
}

/// Whether a file is this very device.
fn is_device(file: &Path, device: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = |path| fs::metadata(path).ok().map(|metadata| metadata.rdev()).filter(|number| *number != 0);
    number(file).is_some_and(|found| number(device) == Some(found))
}

fn foreign(places: &Places, target: &Path) -> HostError {
    let problem = format!("something else is mounted at {}; it was left as it is", target.display());
    HostError::Conflict { volume: places.volume.clone(), problem }
}

fn check_target(target: &Path) -> Result<()> {
    use std::path::Component;
    let is_plain = target.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if is_plain && target.is_absolute() && target.file_name().is_some() {
        return Ok(());
    }
    Err(HostError::Invalid {
        what: "target path",
        value: target.display().to_string(),
        problem: "is not a full path below `/` without `..`".to_owned(),
    })
}

/// The path as the mount table has it, which knows no symbolic links.
fn real(target: &Path) -> PathBuf {
    let parent = target.parent().and_then(|parent| parent.canonicalize().ok());
    parent.zip(target.file_name()).map_or_else(|| target.to_owned(), |(parent, name)| parent.join(name))
}

fn make_file(path: &Path) -> Result<()> {
    if let Some(parent) = path.parent() {
        stage::make_directory(parent)?;
    }
    File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map(drop)
        .doing(|| format!("make the file {}", path.display()))
}

/// Removes an empty directory or file; anything else is somebody's.
fn remove(point: &Path) -> Result<()> {
    let doing = || format!("remove {}", point.display());
    let found = match fs::symlink_metadata(point) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.doing(doing)?,
    };
    if found.is_dir() {
        fs::remove_dir(point).doing(doing)
    } else if found.is_file() && found.len() == 0 {
        fs::remove_file(point).doing(doing)
    } else {
        Err(io::Error::from(io::ErrorKind::AlreadyExists)).doing(doing)
    }
}
