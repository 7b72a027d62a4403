use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{Bytes, Route, VolumeId};
use rustix::mount::MountAttrFlags;

use crate::device::r#loop::{self, Purpose};
use crate::encryption::Passphrases;
use crate::error::{Doing, HostError, Result};
use crate::filesystem::Tools;
use crate::lock::{Hold, Locks, blocking};
use crate::mount::{self, Depth, Table};
use crate::sessions::Sessions;
use crate::stage::{self, Patience, Places, Unwritten};
use crate::wire::Wire;

mod attachment;
mod config;
mod doctor;
mod group;
mod show;

pub use attachment::{Attached, Attachment, Usage};
pub use config::{HostConfig, Limits, Paths};
pub use doctor::{Finding, Healing};

/// A node's hands. Clones are the same hands.
///
/// # Behavior
/// Every call may be repeated, and may be dropped at any moment: the same call made again brings the node to the
/// same end. Calls for one volume wait for each other; calls for different volumes do not.
#[derive(Clone, Debug)]
pub struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: HostConfig,
    volumes: Locks<VolumeId>,
    /// One look at a time: those at a storage that does not answer shall not pile up.
    looks: Locks<VolumeId>,
    /// By device and inode of the file.
    images: Locks<(u64, u64)>,
    sessions: Sessions,
    patience: Patience,
    /// What the last healing could not mend.
    unhealed: Mutex<Vec<Finding>>,
}

const LONGEST_REFERENCE: usize = 128;

impl Host {
    /// # Behavior
    /// Makes the mounts root if it is absent and removes empty directories that a crash left in it. Looks at
    /// nothing else: what is mounted is read when it is asked for.
    ///
    /// # Errors
    /// The mounts root cannot be made or is not a directory.
    pub async fn open(mut config: HostConfig) -> Result<Host> {
        let hold: Hold = Arc::new(());
        let root = config.mounts_root.clone();
        config.mounts_root = blocking(&hold, move || {
            stage::make_directory(&root)?;
            // The mount table knows no symbolic links.
            let root = root.canonicalize().doing(|| format!("resolve {}", root.display()))?;
            for entry in std::fs::read_dir(&root).doing(|| format!("list {}", root.display()))?.flatten() {
                if entry.file_type().is_ok_and(|t| t.is_dir()) {
                    stage::remove_empty(&entry.path())?;
                }
            }
            Ok(root)
        })
        .await?;
        let sessions = Sessions::open(&config.mounts_root, config.paths)?;
        Ok(Host(Arc::new(Inner {
            config,
            volumes: Locks::new(),
            looks: Locks::new(),
            images: Locks::new(),
            sessions,
            patience: Patience::default(),
            unhealed: Mutex::default(),
        })))
    }

    /// Brings a volume to this node: its directory or filesystem on its stage, or its device.
    ///
    /// # Behavior
    /// Finds what is attached already and only does what is missing; also grows a filesystem that is smaller
    /// than its device. A device is formatted only if blkid, our own reading and `staged_before` agree that it
    /// is blank. The caller records that the volume was staged before it goes on to [`Host::mount`].
    ///
    /// # Errors
    /// `Missing` source, wrong `Size`, `Refused` device (nothing was written to it), `Conflict` with how or as
    /// what it is attached now.
    pub async fn attach(&self, volume: &VolumeId, route: &Route, wanted: &Attachment) -> Result<Attached> {
        let tools = self.tools(volume).await;
        stage::attach(&self.places(volume), route, wanted, &tools, &self.0.images, &self.0.sessions).await
    }

    /// Mounts an attached volume once for `reference` and says where.
    ///
    /// # Behavior
    /// Mounts below the stage (`.snapshot`) are taken along. The caller has recorded that the volume was staged:
    /// what the host noted about a format goes with the first mount.
    ///
    /// # Errors
    /// `NotAttached`; `Unsupported` for a raw device, which has nothing to mount; `Invalid` reference.
    pub async fn mount(&self, volume: &VolumeId, reference: &str) -> Result<PathBuf> {
        check_reference(reference)?;
        let hold = self.0.volumes.hold(volume.clone()).await;
        let (places, reference) = (self.places(volume), reference.to_owned());
        blocking(&hold, move || {
            let table = Table::read()?;
            let (stage, point) = (places.stage(), places.reference(&reference));
            if table.at(&stage).is_none() {
                return Err(not_mountable(&places)?);
            }
            if is_replica(&table, &stage, &point) {
                return Ok(point);
            }
            stage::unmount(&places, &point)?;
            stage::make_directory(&point)?;
            // The caller's record says by now that it was staged; ours must not outlive the first user.
            stage::format::FormatRecord::remove(&places.directory())?;
            mount::bind(&stage, &point, Depth::All, MountAttrFlags::empty())?;
            Ok(point)
        })
        .await
    }

    /// Ends one reference and says how many are left.
    ///
    /// # Behavior
    /// A reference that is not there is as good as ended.
    ///
    /// # Errors
    /// `Busy` with who holds it.
    pub async fn unmount(&self, volume: &VolumeId, reference: &str) -> Result<usize> {
        check_reference(reference)?;
        let hold = self.0.volumes.hold(volume.clone()).await;
        let (places, reference) = (self.places(volume), reference.to_owned());
        blocking(&hold, move || {
            let point = places.reference(&reference);
            stage::unmount(&places, &point)?;
            match std::fs::remove_dir(&point) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    // Only a directory that somebody wrote into stays; the doctor tells of it.
                    tracing::warn!(point = %point.display(), error = %e, "a directory stays behind");
                }
                _ => {}
            }
            Ok(stage::references(&Table::read()?, &places).len())
        })
        .await
    }

    /// Takes a volume away from this node: unmounts its stage, flushes and detaches its device.
    ///
    /// # Behavior
    /// A volume that is not attached is as good as detached. What is not written yet is written first; a storage
    /// that is gone cannot take it, and the call ends at its limit while the volume stays.
    ///
    /// # Errors
    /// `InUse` while references are left; `Busy` with who holds the stage or the device; `Unanswered`. Nothing in
    /// use is torn down.
    pub async fn detach(&self, volume: &VolumeId) -> Result<()> {
        let work = async {
            let tools = self.tools(volume).await;
            let references = self.references(volume)?;
            if !references.is_empty() {
                return Err(HostError::InUse { volume: volume.clone(), references });
            }
            stage::detach(&self.places(volume), Unwritten::IsWritten, &tools, &self.0.sessions).await
        };
        within(self.0.config.limits.detach, volume, "detach it", work).await
    }

    /// As [`Host::detach`], for a volume whose storage lets this node write no more: what is not written yet is lost.
    ///
    /// # Behavior
    /// Goes through although the storage is gone: what waits for it, also on behalf of an earlier detach, gets an error.
    ///
    /// # Errors
    /// As [`Host::detach`].
    pub async fn abandon(&self, volume: &VolumeId) -> Result<()> {
        let limits = self.0.config.limits;
        let unheld = Tools { limits, hold: Arc::new(()) };
        let places = self.places(volume);
        let work = stage::abandon(&places, &unheld, self.tools(volume), &self.0.sessions);
        within(limits.detach, volume, "detach it", work).await
    }

    /// Removes what is left of a volume that was deleted.
    ///
    /// # Errors
    /// As [`Host::detach`].
    pub async fn forget(&self, volume: &VolumeId) -> Result<()> {
        self.detach(volume).await?;
        let hold = self.0.volumes.hold(volume.clone()).await;
        let directory = self.places(volume).directory();
        blocking(&hold, move || {
            if directory.exists() {
                stage::format::FormatRecord::remove(&directory)?;
            }
            stage::remove_empty(&directory)
        })
        .await
    }

    /// Takes over the size that the backend gave a volume, while it is in use.
    ///
    /// # Behavior
    /// Device first, then its encryption, then the filesystem; nothing to do for a directory. The new size is
    /// verified. Only an encrypted volume needs its passphrases.
    ///
    /// # Errors
    /// `Size` when the backend has not grown the volume to that size; `NotAttached`.
    pub async fn grow(
        &self,
        volume: &VolumeId,
        size: Bytes,
        passphrases: Option<&Passphrases>,
    ) -> Result<()> {
        let tools = self.tools(volume).await;
        stage::grow(&self.places(volume), size, passphrases, &tools).await
    }

    /// Space and inodes of an attached volume, as its filesystem counts them: a directory shows those of the
    /// filesystem it lies in, whatever its own quota is.
    ///
    /// # Errors
    /// `NotAttached`; a raw device has no usage; `Unanswered`.
    pub async fn usage(&self, volume: &VolumeId) -> Result<Usage> {
        // Reads only, so it takes no lock that a change would wait for.
        let places = self.places(volume);
        let ask = async {
            let hold = self.0.looks.hold(volume.clone()).await;
            blocking(&hold, move || {
                let stage = places.stage();
                if Table::read()?.at(&stage).is_none() {
                    return Err(not_mountable(&places)?);
                }
                let fs = rustix::fs::statvfs(&stage)
                    .doing(|| format!("ask for the space of {}", stage.display()))?;
                let bytes = |blocks: u64| Bytes::new(blocks.saturating_mul(fs.f_frsize));
                Ok(Usage {
                    total: bytes(fs.f_blocks),
                    used: bytes(fs.f_blocks.saturating_sub(fs.f_bfree)),
                    available: bytes(fs.f_bavail),
                    inodes: fs.f_files,
                    inodes_used: fs.f_files.saturating_sub(fs.f_ffree),
                })
            })
            .await
        };
        within(self.0.config.limits.network, volume, "ask for its space", ask).await
    }

    /// For whom a volume is mounted here, read from the mount table.
    ///
    /// # Errors
    /// The mount table cannot be read.
    pub fn references(&self, volume: &VolumeId) -> Result<BTreeSet<String>> {
        Ok(stage::references(&Table::read()?, &self.places(volume)))
    }

    /// Where the mount of a reference is, or would be. Looks at nothing.
    pub fn path(&self, volume: &VolumeId, reference: &str) -> PathBuf {
        self.places(volume).reference(reference)
    }

    /// All volumes mounted here, also those on their stage without a reference, read from the mount table.
    ///
    /// # Errors
    /// The mount table cannot be read.
    pub fn mounted(&self) -> Result<BTreeMap<VolumeId, BTreeSet<String>>> {
        let root = &self.0.config.mounts_root;
        let mut mounted: BTreeMap<VolumeId, BTreeSet<String>> = BTreeMap::new();
        for entry in Table::read()?.below(root) {
            let Some(path) = entry.point.strip_prefix(root).ok().and_then(|p| p.to_str()) else { continue };
            let mut names = path.split('/');
            let (Some(volume), Some(name), None) = (names.next(), names.next(), names.next()) else {
                continue;
            };
            let Ok(volume) = VolumeId::new(volume) else { continue };
            let references = mounted.entry(volume).or_default();
            if !name.starts_with('.') {
                references.insert(name.to_owned());
            }
        }
        Ok(mounted)
    }

    /// Mends the sessions with storages of the network; to be called every now and then.
    ///
    /// # Behavior
    /// Joins portals that were away, proving that they lead to the same unit; makes sessions anew that hang although
    /// their portal answers, as long as no device in use would lose its last path; removes devices and sessions of
    /// ours that no volume has. All but the first only after the limit `patience`. What it cannot mend
    /// [`Host::doctor`] tells, too.
    ///
    /// # Errors
    /// The mount table cannot be read.
    pub async fn heal(&self) -> Result<Healing> {
        let config = &self.0.config;
        let healed =
            stage::heal(&config.mounts_root, config.limits, &self.0.sessions, &self.0.patience).await?;
        for mended in &healed.mended {
            tracing::info!(mended, "healed");
        }
        self.0.unhealed.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&healed.findings);
        Ok(healed)
    }

    /// What looks wrong on this node, with advice. Changes nothing. `wires` are those that its backends have.
    pub async fn doctor(&self, wires: &BTreeSet<Wire>) -> Vec<Finding> {
        let hold: Hold = Arc::new(());
        let root = self.0.config.mounts_root.clone();
        let mut findings = match blocking(&hold, move || doctor::examine(&root)).await {
            Ok(findings) => findings,
            Err(error) => vec![Finding::unreadable(&error)],
        };
        findings.extend(self.0.unhealed.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        let mut wires = wires.clone();
        if self.0.config.paths == Paths::One {
            wires.remove(&Wire::Multipath);
        }
        for wire in wires {
            findings.extend(wire.examine().await);
        }
        findings
    }

    fn places(&self, volume: &VolumeId) -> Places {
        Places { volume: volume.clone(), mounts_root: self.0.config.mounts_root.clone() }
    }

    async fn tools(&self, volume: &VolumeId) -> Tools {
        Tools { limits: self.0.config.limits, hold: self.0.volumes.hold(volume.clone()).await }
    }
}

/// Why a volume without a stage cannot be used as a directory.
fn not_mountable(places: &Places) -> Result<HostError> {
    Ok(match raw_device(places)? {
        Some(device) => HostError::Unsupported {
            volume: places.volume.clone(),
            problem: format!(
                "it is a raw device ({}) and has no files to mount; give the volume a filesystem to use it as a \
                 directory",
                device.display()
            ),
        },
        None => HostError::NotAttached(places.volume.clone()),
    })
}

/// The device of a volume that is attached as it is.
fn raw_device(places: &Places) -> Result<Option<PathBuf>> {
    let device = r#loop::find_volume(&places.mounts_root, &places.volume)?;
    let raw = device.filter(|d| d.tag.as_ref().is_some_and(|t| t.purpose == Purpose::Raw));
    Ok(raw.map(|device| device.path()).or(stage::raw(places)?))
}

/// Whether a reference shows the stage of now with all that is mounted in it.
fn is_replica(table: &Table, stage: &std::path::Path, point: &std::path::Path) -> bool {
    let same = |at: &std::path::Path, of: &std::path::Path| match (table.at(at), table.at(of)) {
        (Some(one), Some(other)) if stage::nfs::is_nfs(other) => {
            // A look into it may wait for its server.
            (one.device, &one.root) == (other.device, &other.root)
        }
        (one, _) => one.is_some() && stage::is_same(at, of),
    };
    let inner = |e: &mount::Entry| e.point.strip_prefix(stage).map(|p| same(&point.join(p), &e.point));
    same(point, stage) && table.below(stage).all(|e| inner(e).unwrap_or(true))
}

async fn within<T>(
    limit: Duration,
    volume: &VolumeId,
    doing: &'static str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let unanswered = |_| HostError::Unanswered { volume: volume.clone(), doing, limit };
    tokio::time::timeout(limit, work).await.map_err(unanswered)?
}

fn check_reference(reference: &str) -> Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if reference.is_empty()
        || reference.len() > LONGEST_REFERENCE
        || reference.starts_with('.')
        || !reference.chars().all(legal)
    {
        return Err(HostError::Invalid {
            what: "mount reference",
            value: reference.chars().take(80).collect::<String>().escape_default().to_string(),
            problem: format!(
                "is not one; use 1 to {LONGEST_REFERENCE} letters, digits, `_`, `.` and `-`, not starting with `.`"
            ),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
