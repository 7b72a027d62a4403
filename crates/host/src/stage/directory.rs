//! Volumes that are directories on this machine.

use std::fs;
use std::io;
use std::path::Path;

use rustix::mount::MountAttrFlags;

use super::{Places, SNAPSHOTS, check_read_only, is_same, make_directory, references, set_mode, unmount};
use crate::error::{Doing, HostError, Result};
use crate::host::{Attached, Attachment};
use crate::mount::{self, Depth, Options, Table};

pub(super) fn attach(
    places: &Places,
    source: &Path,
    snapshots: Option<&Path>,
    wanted: &Attachment,
) -> Result<Attached> {
    let options = Options::parse(&wanted.mount_options, wanted.read_only)?;
    if let Some((word, _)) = options.filesystem.first() {
        return Err(HostError::Invalid {
            what: "mount option",
            value: word.clone(),
            problem: "does not apply to a volume that is a directory; remove it from the class or volume"
                .to_owned(),
        });
    }
    if !source.is_dir() {
        return Err(HostError::Missing {
            volume: places.volume.clone(),
            problem: format!(
                "its directory {} is gone; bring it back, or forget the volume if that was meant",
                source.display()
            ),
        });
    }
    let stage = places.stage();
    make_directory(&stage)?;
    if !is_staged(places, source, wanted.read_only)? {
        mount::bind(source, &stage, Depth::One, options.attributes)?;
    }
    set_mode(&stage, wanted)?;
    if let Some(snapshots) = snapshots {
        show_snapshots(places, source, snapshots)?;
    }
    Ok(Attached::Directory { path: stage, formatted: false })
}

/// A stage of what the directory was before is taken down, unless somebody still works in it.
fn is_staged(places: &Places, source: &Path, read_only: bool) -> Result<bool> {
    let stage = places.stage();
    let table = Table::read()?;
    let Some(staged) = table.at(&stage) else { return Ok(false) };
    if is_same(&stage, source) {
        check_read_only(places, staged, read_only)?;
        return Ok(true);
    }
    let references = references(&table, places);
    if !references.is_empty() {
        return Err(HostError::InUse { volume: places.volume.clone(), references });
    }
    unmount(places, &stage)?;
    Ok(false)
}

fn show_snapshots(places: &Places, source: &Path, snapshots: &Path) -> Result<()> {
    // Made through the source: the stage may be read-only.
    let point = source.join(SNAPSHOTS);
    match fs::create_dir(&point) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            return Err(e).doing(|| format!("make {} to show snapshots at", point.display()));
        }
        _ => {}
    }
    if !fs::symlink_metadata(&point).is_ok_and(|m| m.is_dir()) {
        return Err(HostError::Conflict {
            volume: places.volume.clone(),
            problem: format!(
                "its entry `{SNAPSHOTS}` is not a directory, so snapshots cannot be shown there; rename it"
            ),
        });
    }
    let shown = places.stage().join(SNAPSHOTS);
    if Table::read()?.at(&shown).is_some() {
        if is_same(&shown, snapshots) {
            return Ok(());
        }
        unmount(places, &shown)?;
    }
    mount::bind(snapshots, &shown, Depth::One, MountAttrFlags::MOUNT_ATTR_RDONLY)
}
