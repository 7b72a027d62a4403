//! Findings about this node; all of them advice, none of them acted upon.

use std::fmt;
use std::fs;
use std::path::Path;

use model::VolumeId;

use crate::device::r#loop::{self, Purpose};
use crate::device::mapping;
use crate::error::{HostError, Result};
use crate::mount::Table;
use crate::stage::Places;

/// Something that looks wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The volume it concerns, where that is known.
    pub volume: Option<VolumeId>,
    /// The mount, device or directory.
    pub subject: String,
    pub problem: String,
    pub advice: String,
}

/// What a round of [`Host::heal`](crate::Host::heal) came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healing {
    pub mended: Vec<String>,
    pub findings: Vec<Finding>,
}

impl Finding {
    pub(super) fn unreadable(error: &HostError) -> Finding {
        Finding {
            volume: None,
            subject: "this node".to_owned(),
            problem: format!("could not be examined: {error}"),
            advice: "see that leister runs as root with /proc and /sys mounted".to_owned(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.subject, self.problem, self.advice)
    }
}

pub(super) fn examine(mounts_root: &Path) -> Result<Vec<Finding>> {
    let table = Table::read()?;
    let mut findings = mounts(&table, mounts_root);
    findings.extend(devices(&table, mounts_root)?);
    findings.extend(directories(&table, mounts_root));
    Ok(findings)
}

/// Mounts whose source is gone, and references that outlived their stage.
fn mounts(table: &Table, mounts_root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for entry in table.below(mounts_root) {
        let volume = volume_at(mounts_root, &entry.point);
        let mut find = |problem: &str, advice: &str| {
            findings.push(Finding {
                volume: volume.clone(),
                subject: format!("mount {}", entry.point.display()),
                problem: problem.to_owned(),
                advice: advice.to_owned(),
            });
        };
        if entry.is_deleted() {
            find("its directory was deleted", "stop its containers; then unmount and detach the volume");
        }
        let Some(volume) = &volume else { continue };
        let places = Places { volume: volume.clone(), mounts_root: mounts_root.to_owned() };
        if entry.point == places.marker() && places.raw().exists() {
            continue;
        }
        if entry.point != places.marker() && entry.filesystem == "devtmpfs" {
            if super::raw_device(&places).is_ok_and(|device| device.is_none()) {
                find("its raw device is not attached any more", "unmount it, and attach the volume again");
            }
            continue;
        }
        if entry.point == places.marker() && table.at(&places.stage()).is_none() {
            find("its device is attached but not mounted", "detach the volume, or attach it again to use it");
        } else if entry.point != places.stage() && table.at(&places.stage()).is_none() {
            find("the volume's stage is not mounted any more", "attach the volume again");
        }
    }
    findings
}

/// Loop devices of ours that serve nothing, or whose image is gone.
fn devices(table: &Table, mounts_root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for device in r#loop::list()? {
        let Some(tag) = device.tag.as_ref().filter(|t| t.is_below(mounts_root)) else { continue };
        let backing = device.backing_path().unwrap_or_default();
        let decrypted = mapping::over(&format!("loop{}", device.number)).map(|m| m.path());
        let is_its = |source: &Path| *source == *device.path() || decrypted.as_deref() == Some(source);
        let stage = table.below(mounts_root).find(|e| is_its(Path::new(&e.source)));
        let volume = stage.and_then(|e| volume_at(mounts_root, &e.point));
        let mut find = |problem: String, advice: &str| {
            findings.push(Finding {
                volume: volume.clone(),
                subject: format!("device {}", device.path().display()),
                problem,
                advice: advice.to_owned(),
            });
        };
        if backing.ends_with(" (deleted)") {
            find(
                format!("its image {backing} was deleted while attached"),
                "copy the data out before its last container stops; after that it is gone",
            );
        }
        if stage.is_none() && tag.purpose == Purpose::Filesystem {
            find(
                format!("it holds {backing} but is not mounted"),
                "detach the volume, or attach it again to use it",
            );
        }
        if device.leaving {
            find(
                "it was detached behind our back and goes with its last user".to_owned(),
                "attach the volume again",
            );
        }
    }
    Ok(findings)
}

/// Files that lie in a mount point without its mount: written past the volume.
fn directories(table: &Table, mounts_root: &Path) -> Vec<Finding> {
    let volumes = fs::read_dir(mounts_root).into_iter().flatten().flatten();
    let points = volumes.flat_map(|v| fs::read_dir(v.path()).into_iter().flatten().flatten());
    let strays = points.map(|p| p.path()).filter(|path| {
        let filled = || fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
        // A mount is not looked at: its storage may be gone, and the look would wait for it.
        table.at(path).is_none() && path.is_dir() && filled()
    });
    strays
        .map(|path| Finding {
            volume: volume_at(mounts_root, &path),
            subject: format!("directory {}", path.display()),
            problem: "files were written here while the volume was not mounted".to_owned(),
            advice: "move them into the volume or remove them".to_owned(),
        })
        .collect()
}

fn volume_at(mounts_root: &Path, path: &Path) -> Option<VolumeId> {
    let name = path.strip_prefix(mounts_root).ok()?.components().next()?;
    VolumeId::new(name.as_os_str().to_str()?).ok()
}
