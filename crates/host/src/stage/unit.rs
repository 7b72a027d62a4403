//! Volumes that are units of a storage on the network: disks by iSCSI, namespaces by NVMe.
//!
//! Which device is a volume's is kept by the kernel: its node is bound to a file in the directory of the volume, from
//! before it is used until it is gone.

mod disk;
mod heal;
mod namespace;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Bytes, IscsiRoute, NamespaceId, NvmeRoute};

use super::content::{self, Volume};
use super::{Places, Unwritten, make_directory};
use crate::device::block::{self, Block};
use crate::device::busy::{self, Holder};
use crate::device::{iscsi, multipath, nvme};
use crate::encryption::Passphrases;
use crate::error::{Doing, HostError, Result};
use crate::filesystem::Tools;
use crate::host::{Attached, Attachment};
use crate::lock::blocking;
use crate::mount::{self, Options, Table};
use crate::sessions::Sessions;

pub(crate) use heal::{Patience, heal};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a unit may take to appear: the array may have mapped it a moment ago.
const APPEARANCE: Duration = Duration::from_secs(10);

/// A route to a unit.
#[derive(Clone, Copy)]
pub(super) enum Way<'a> {
    Disk(&'a IscsiRoute),
    Namespace(&'a NvmeRoute),
}

impl Way<'_> {
    fn check(self) -> Result<()> {
        match self {
            Way::Disk(route) => iscsi::check(route),
            Way::Namespace(route) => nvme::check(route),
        }
    }

    /// What its sessions are with.
    fn target(&self) -> &str {
        match self {
            Way::Disk(route) => &route.target,
            Way::Namespace(route) => &route.subsystem,
        }
    }

    /// What makes its device itself.
    fn serial(self) -> String {
        match self {
            Way::Disk(route) => route.serial.clone(),
            Way::Namespace(route) => {
                let (NamespaceId::Nguid(id) | NamespaceId::Uuid(id)) = &route.namespace;
                nvme::plain(id)
            }
        }
    }
}

pub(super) async fn attach(
    places: &Places,
    way: Way<'_>,
    wanted: &Attachment,
    tools: &Tools,
    sessions: &Sessions,
) -> Result<Attached> {
    way.check()?;
    let options = Options::parse(&wanted.mount_options, wanted.read_only)?;
    if wanted.filesystem.is_none() && Table::read()?.at(&places.stage()).is_some() {
        let problem = "it is attached as a filesystem; unmount all of it and detach it first".to_owned();
        return Err(HostError::Conflict { volume: places.volume.clone(), problem });
    }
    let was_marked = marked(places)?.is_some();
    let is_raw = wanted.filesystem.is_none();
    let mut device = {
        // Until it is marked, whoever leaves the target could take it for unused.
        let _alone = sessions.hold(way.target()).await;
        let device = match way {
            Way::Disk(route) => disk::find(places, route, tools, sessions).await?,
            Way::Namespace(route) => namespace::find(places, route, tools, sessions).await?,
        };
        let (at, name) = (places.clone(), device.clone());
        blocking(&tools.hold, move || mark(&at, &name, is_raw)).await?;
        device
    };
    let mut ready = make_ready(places, &way, wanted, &device, &options, tools).await;
    // A disk that multipathd knows from earlier it may have taken after we had looked: then its map is the device.
    if let (Err(_), Way::Disk(route), Some(map)) = (&ready, way, multipath::over(&device))
        && disk::prove_all(places, route, &map.name, tools).await.is_ok()
    {
        tracing::info!(volume = %places.volume, disk = device, map = map.name, "multipathd has taken its disk");
        device = map.name;
        let (at, name) = (places.clone(), device.clone());
        {
            let _alone = sessions.hold(way.target()).await;
            blocking(&tools.hold, move || mark(&at, &name, is_raw)).await?;
        }
        ready = make_ready(places, &way, wanted, &device, &options, tools).await;
    }
    // A raw device that was there before may be in use by now.
    let is_in_use = was_marked && is_raw;
    if ready.is_err() && !is_in_use && Table::read()?.at(&places.stage()).is_none() {
        // A device that nothing came of does not stay behind; the error that matters is the one at hand. Where nobody has
        // had it there is nothing to lose, and one that has gone bad cannot be flushed.
        let unwritten = if was_marked { Unwritten::IsWritten } else { Unwritten::MayBeLost };
        if let Err(error) = take_down(places, &device, unwritten, tools, sessions).await {
            tracing::warn!(volume = %places.volume, %error, "a device stays behind");
        } else {
            let places = places.clone();
            let undone = blocking(&tools.hold, move || {
                unmark(&places)?;
                super::remove_empty(&places.directory())
            });
            undone.await?;
        }
    }
    ready
}

/// Makes of the device of a volume what is wanted.
async fn make_ready(
    places: &Places,
    way: &Way<'_>,
    wanted: &Attachment,
    device: &str,
    options: &Options,
    tools: &Tools,
) -> Result<Attached> {
    see_size(places, device, wanted.size, tools).await?;
    see_path(device, tools).await?;
    let Some(filesystem) = wanted.filesystem else {
        return raw_device(device, wanted.read_only, tools).await;
    };
    let device = Arc::new(Block::Unit { name: device.to_owned(), serial: way.serial() });
    Volume { places, wanted, filesystem, device, tools }.stage(options.clone()).await
}

/// Flushes and removes the device of a volume, if it has one.
///
/// # Errors
/// `Busy` with who holds it; a flush that fails. Nothing is torn down then.
pub(super) async fn release(
    places: &Places,
    unwritten: Unwritten,
    tools: &Tools,
    sessions: &Sessions,
) -> Result<()> {
    if let Some(device) = marked(places)? {
        take_down(places, &device, unwritten, tools, sessions).await?;
    }
    let places = places.clone();
    blocking(&tools.hold, move || unmark(&places)).await
}

/// Lets what waits for the paths of a volume's map fail: they do not come back.
pub(super) async fn stop_waiting(places: &Places, tools: &Tools) -> Result<()> {
    let map = marked(places)?.and_then(|device| multipath::named(&device));
    if let Some(map) = map
        && let Err(error) = map.stop_waiting(tools).await
    {
        tracing::warn!(volume = %places.volume, %error, "what waits for the device may go on waiting");
    }
    Ok(())
}

/// The device of a volume to which no path works any more, and its target.
pub(super) fn dead(places: &Places) -> Result<Option<(String, String)>> {
    let Some(device) = marked(places)?.filter(|device| nvme::of(device).is_none()) else { return Ok(None) };
    Ok(disk::dead_target(&device)?.map(|target| (device, target)))
}

/// Lets what waits for a device fail, with its paths.
pub(super) async fn cut_off(device: &str, tools: &Tools) -> Result<()> {
    disk::cut_off(device, tools).await
}

/// Ends our sessions with a target that have no unit.
pub(super) async fn leave(places: &Places, target: &str, tools: &Tools, sessions: &Sessions) {
    let _alone = sessions.hold(target).await;
    disk::leave(places, target, tools, sessions).await;
}

/// Extends the device, and the filesystem on it if one is mounted, to `size`.
pub(super) async fn grow(
    places: &Places,
    device: &str,
    size: Bytes,
    passphrases: Option<&Passphrases>,
    tools: &Tools,
) -> Result<()> {
    see_size(places, device, size, tools).await?;
    let staged = Table::read()?.at(&places.stage()).map(|e| (e.filesystem.clone(), e.is_read_only()));
    let Some((filesystem, false)) = staged else { return Ok(()) };
    content::grow(places, &filesystem, &path_of(device), size, passphrases, tools).await
}

/// The kernel's name of the device that a volume has here.
pub(super) fn marked(places: &Places) -> Result<Option<String>> {
    let marker = places.marker();
    let table = Table::read()?;
    if table.at(&marker).is_none_or(mount::Entry::is_deleted) {
        return Ok(None);
    }
    let number = fs::metadata(&marker).doing(|| format!("look at {}", marker.display()))?.rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let device = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"));
    Ok(device.ok().and_then(|d| Some(d.file_name()?.to_string_lossy().into_owned())))
}

async fn raw_device(device: &str, read_only: bool, tools: &Tools) -> Result<Attached> {
    let shown = Path::new("/sys/class/block").join(device).join("ro");
    let is_read_only =
        fs::read_to_string(&shown).doing(|| format!("read {}", shown.display()))?.trim() == "1";
    if is_read_only != read_only {
        let order = if read_only { "--setro" } else { "--setrw" };
        tools.quick("blockdev").arg(order).path(&path_of(device)).run().await?;
    }
    Ok(Attached::Device { path: path_of(device) })
}

/// Sees that the kernel gives a device this size, taking over what its unit has grown to.
async fn see_size(places: &Places, device: &str, wanted: Bytes, tools: &Tools) -> Result<()> {
    if block::size(device)? != wanted {
        match nvme::of(device) {
            Some(subsystem) => namespace::resize(&subsystem, device, wanted, tools).await?,
            None => disk::resize(device, tools).await?,
        }
    }
    let found = block::size(device)?;
    if found == wanted {
        return Ok(());
    }
    Err(HostError::Size { volume: places.volume.clone(), wanted, found, at: path_of(device) })
}

/// Waits until a map lets something through: when its paths are back, multipathd has yet to look at them. What cannot be
/// read afterwards is for the proofs to say.
async fn see_path(device: &str, tools: &Tools) -> Result<()> {
    let until = Instant::now() + APPEARANCE;
    while multipath::named(device).is_some() && Instant::now() < until {
        let path = path_of(device);
        let head = move || Ok(File::open(path).and_then(|file| file.read_exact_at(&mut [0; 512], 0)).is_ok());
        if blocking(&tools.hold, head).await? {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Flush, device, session: in this order, and nothing of it while somebody uses the device.
async fn take_down(
    places: &Places,
    device: &str,
    unwritten: Unwritten,
    tools: &Tools,
    sessions: &Sessions,
) -> Result<()> {
    // Whatever multipathd was told, it may have put a map over the disk.
    let over = multipath::over(device).map(|map| map.name);
    let device = over.as_deref().unwrap_or(device);
    let (volume, at) = (places.volume.clone(), path_of(device));
    blocking(&tools.hold, move || flush(volume, &at, unwritten)).await?;
    match nvme::of(device) {
        Some(subsystem) => namespace::leave(places, &subsystem, tools, sessions).await,
        None => disk::take_down(places, device, tools, sessions).await,
    }
}

pub(super) fn flush(volume: model::VolumeId, device: &Path, unwritten: Unwritten) -> Result<()> {
    /// Somebody else may look at it right now, as at a file.
    const MOMENT: Duration = Duration::from_secs(5);
    /// On a machine with many devices and little time.
    const RULES: Duration = Duration::from_secs(30);
    let number = fs::metadata(device).doing(|| format!("look at {}", device.display()))?.rdev();
    let name = device.file_name().unwrap_or_default().to_string_lossy();
    let pair = (rustix::fs::major(number), rustix::fs::minor(number));
    let busy = |holders: &[Holder]| {
        let (volume, subject) = (volume.clone(), device.display().to_string());
        Err(HostError::Busy { volume, subject, holders: busy::describe(holders) })
    };
    let begun = Instant::now();
    let alone = loop {
        // A raw device may be open without being held.
        let openers = busy::openers(pair);
        let alone = match openers.is_empty().then(|| block::open_alone(device)).transpose() {
            Err(error) if error.is_gone() => return without_path(&volume, device, unwritten),
            opened => opened?.flatten(),
        };
        // What was just cut off takes a moment to let go.
        let is_held = openers.is_empty() && alone.is_none() && unwritten == Unwritten::IsWritten;
        if alone.is_some() || is_held {
            break alone;
        }
        let limit = if openers.iter().all(Holder::is_passing) { RULES } else { MOMENT };
        if begun.elapsed() > limit {
            let holders = if openers.is_empty() { busy::of_device(pair, &name) } else { openers };
            return busy(&holders);
        }
        std::thread::park_timeout(LOOK_EVERY);
    };
    match alone {
        Some(alone) => match (alone.sync_all(), unwritten) {
            (Err(error), Unwritten::MayBeLost) => {
                tracing::warn!(%volume, device = %device.display(), %error, "what was not written yet is lost");
                Ok(())
            }
            (flushed, _) => flushed.doing(|| format!("flush {}", device.display())),
        },
        None => busy(&busy::of_device(pair, &name)),
    }
}

/// A device that no path leads to cannot be flushed.
fn without_path(volume: &model::VolumeId, device: &Path, unwritten: Unwritten) -> Result<()> {
    let device = device.display();
    if unwritten == Unwritten::MayBeLost {
        tracing::warn!(%volume, %device, "no path leads to it: what was not written yet is lost");
        return Ok(());
    }
    let problem = format!(
        "no path leads to {device} now, and what is not written yet is kept for it; try again when its storage is back"
    );
    Err(HostError::Unreachable { volume: volume.clone(), problem })
}

/// Whether anybody but this volume uses a device: as a volume, by a mount, by another device, or by having it open.
fn is_used_by_others(device: &str, own: &Path) -> Result<bool> {
    let root = Path::new("/").join(device);
    let is_marker = |e: &mount::Entry| e.root == root && e.point.ends_with(super::MARKER) && e.point != own;
    if Table::read()?.entries().iter().any(is_marker) {
        return Ok(true);
    }
    let path = path_of(device);
    let Ok(found) = fs::metadata(&path) else { return Ok(false) };
    let pair = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
    if !busy::openers(pair).is_empty() {
        return Ok(true);
    }
    match block::open_alone(&path) {
        Ok(alone) => Ok(alone.is_none()),
        // One without a path cannot be opened, so what is said of it elsewhere has to do.
        Err(_) => Ok(!busy::of_device(pair, device).is_empty()),
    }
}

fn mark(places: &Places, device: &str, is_raw: bool) -> Result<()> {
    let marker = places.marker();
    if marked(places)?.as_deref() == Some(device) && places.raw().exists() == is_raw {
        return Ok(());
    }
    unmark(places)?;
    make_directory(&places.directory())?;
    if is_raw {
        File::create(places.raw()).doing(|| format!("make {}", places.raw().display()))?;
    }
    File::create(&marker).doing(|| format!("make {}", marker.display()))?;
    mount::bind_file(&path_of(device), &marker)
}

fn unmark(places: &Places) -> Result<()> {
    let marker = places.marker();
    super::unmount(places, &marker)?;
    for file in [places.raw(), marker] {
        match fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).doing(|| format!("remove {}", file.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn path_of(device: &str) -> PathBuf {
    Path::new("/dev").join(device)
}

fn refused(places: &Places, device: &str, reason: String) -> HostError {
    HostError::Refused { volume: places.volume.clone(), device: path_of(device), reason }
}
