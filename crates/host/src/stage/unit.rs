//! Volumes that are units of an iSCSI target.
//!
//! Which device is a volume's is kept by the kernel: its node is bound to a file in the directory of the volume, from
//! before it is used until it is gone.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Bytes, IscsiRoute};

use super::content::{self, Volume};
use super::{Places, Unwritten, make_directory};
use crate::device::block::{self, Block};
use crate::device::multipath::{self, Map};
use crate::device::scsi::{self, Disk, Session};
use crate::device::{busy, iscsi};
use crate::error::{Doing, HostError, Result};
use crate::filesystem::Tools;
use crate::host::{Attached, Attachment};
use crate::lock::{Locks, blocking};
use crate::mount::{self, Options, Table};

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a unit may take to appear: the array may have mapped it a moment ago.
const APPEARANCE: Duration = Duration::from_secs(10);

pub(super) async fn attach(
    places: &Places,
    route: &IscsiRoute,
    wanted: &Attachment,
    tools: &Tools,
    targets: &Locks<String>,
) -> Result<Attached> {
    iscsi::check(route)?;
    let options = Options::parse(&wanted.mount_options, wanted.read_only)?;
    let Some(filesystem) = wanted.filesystem else {
        return Err(HostError::Unsupported {
            volume: places.volume.clone(),
            problem: "a raw device over iSCSI cannot be given out yet; give the volume a filesystem"
                .to_owned(),
        });
    };
    let device = {
        let _target = targets.hold(route.target.clone()).await;
        let sessions = iscsi::login(&places.volume, route, tools).await?;
        let found = match marked(places)? {
            // What is in use stays, whatever paths there are by now.
            Some(device) => prove_all(places, route, &device, tools).await.map(|()| device),
            None => find(places, route, &sessions, tools).await,
        };
        match found {
            Ok(device) => device,
            Err(error) => {
                for session in &sessions {
                    leave(places, session, tools).await;
                }
                return Err(error);
            }
        }
    };
    let ready = async {
        see_size(places, &device, wanted.size, tools).await?;
        let (at, name) = (places.clone(), device.clone());
        blocking(&tools.hold, move || mark(&at, &name)).await?;
        let device = Arc::new(Block::Unit { name: device.clone(), serial: route.serial.clone() });
        Volume { places, wanted, filesystem, device, tools }.stage(options).await
    };
    let staged = ready.await;
    if staged.is_err() && Table::read()?.at(&places.stage()).is_none() {
        // A device that nothing came of does not stay behind; the error that matters is the one at hand.
        if let Err(error) = take_down(places, &device, Unwritten::IsWritten, tools, targets).await {
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
    staged
}

/// Flushes and removes the device of a volume, if it has one.
///
/// # Errors
/// `Busy` with who holds it; a flush that fails. Nothing is torn down then.
pub(super) async fn release(
    places: &Places,
    unwritten: Unwritten,
    tools: &Tools,
    targets: &Locks<String>,
) -> Result<()> {
    if let Some(device) = marked(places)? {
        take_down(places, &device, unwritten, tools, targets).await?;
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

/// Extends the device, and the filesystem on it if one is mounted, to `size`.
pub(super) async fn grow(places: &Places, device: &str, size: Bytes, tools: &Tools) -> Result<()> {
    see_size(places, device, size, tools).await?;
    let staged = Table::read()?.at(&places.stage()).map(|e| (e.filesystem.clone(), e.is_read_only()));
    let Some((filesystem, false)) = staged else { return Ok(()) };
    content::grow(places, &filesystem, &Path::new("/dev").join(device), size, tools).await
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

/// The device of a unit: a disk, or the map over several.
async fn find(places: &Places, route: &IscsiRoute, sessions: &[Session], tools: &Tools) -> Result<String> {
    let until = Instant::now() + APPEARANCE;
    let mut disks: Vec<Disk> = Vec::new();
    for session in sessions {
        let disk = |s: &Session| s.disks().into_iter().find(|disk| disk.lun == u64::from(route.lun));
        let (known, mut found) = (disk(session), disk(session));
        while found.is_none() && Instant::now() < until {
            let (at, lun) = (session.clone(), route.lun);
            blocking(&tools.hold, move || at.scan(lun)).await?;
            found = disk(session);
            if found.is_none() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        let Some(found) = found else { continue };
        if let Err(error) = prove(places, route, &found, tools).await {
            if known.is_none() {
                blocking(&tools.hold, move || found.delete()).await?;
            }
            return Err(error);
        }
        disks.push(found);
    }
    match disks.as_slice() {
        [] => Err(HostError::Missing {
            volume: places.volume.clone(),
            problem: format!(
                "the target {} shows no unit {} to this node; see that it is mapped to this node's initiator name",
                route.target, route.lun
            ),
        }),
        [only] => match multipath::over(&only.name) {
            Some(map) => prove_all(places, route, &map.name, tools).await.map(|()| map.name),
            None => Ok(only.name.clone()),
        },
        several => {
            let map = multipath::ensure(&places.volume, several, tools).await?;
            prove_all(places, route, &map.name, tools).await?;
            Ok(map.name)
        }
    }
}

/// Sees that all disks of a device are the volume: a map may have more than those of this route.
async fn prove_all(places: &Places, route: &IscsiRoute, device: &str, tools: &Tools) -> Result<()> {
    for disk in paths(device, multipath::named(device).as_ref())? {
        prove(places, route, &disk, tools).await?;
    }
    Ok(())
}

/// Sees that a disk is the volume, before anything else is done with it.
async fn prove(places: &Places, route: &IscsiRoute, disk: &Disk, tools: &Tools) -> Result<()> {
    let asked = disk.clone();
    let serial = blocking(&tools.hold, move || asked.serial()).await?;
    if serial == route.serial {
        return Ok(());
    }
    let reason = format!(
        "its serial number is {serial} and the volume's is {}: unit {} of {} at {} is another volume",
        route.serial, route.lun, route.target, disk.session.portal
    );
    Err(refused(places, &disk.name, reason))
}

/// Sees that the kernel gives a device this size, taking over what its unit has grown to.
async fn see_size(places: &Places, device: &str, wanted: Bytes, tools: &Tools) -> Result<()> {
    if block::size(device)? != wanted {
        let map = multipath::named(device);
        for disk in paths(device, map.as_ref())? {
            blocking(&tools.hold, move || disk.rescan()).await?;
        }
        if let Some(map) = map {
            map.resize(tools).await?;
        }
    }
    let found = block::size(device)?;
    if found == wanted {
        return Ok(());
    }
    let at = Path::new("/dev").join(device);
    Err(HostError::Size { volume: places.volume.clone(), wanted, found, at })
}

/// Flush, map, disks, session: in this order, and nothing of it while somebody uses the device.
async fn take_down(
    places: &Places,
    device: &str,
    unwritten: Unwritten,
    tools: &Tools,
    targets: &Locks<String>,
) -> Result<()> {
    let map = multipath::named(device);
    let disks = paths(device, map.as_ref())?;
    let (volume, at) = (places.volume.clone(), Path::new("/dev").join(device));
    blocking(&tools.hold, move || flush(volume, &at, unwritten)).await?;
    let Some(first) = disks.first() else { return Ok(()) };
    let _target = targets.hold(first.session.target.clone()).await;
    if let Some(map) = map {
        map.remove(tools).await?;
    }
    for disk in &disks {
        let disk = disk.clone();
        blocking(&tools.hold, move || disk.delete()).await?;
    }
    for disk in &disks {
        leave(places, &disk.session, tools).await;
    }
    Ok(())
}

fn flush(volume: model::VolumeId, device: &Path, unwritten: Unwritten) -> Result<()> {
    match block::open_alone(device)? {
        Some(alone) => match (alone.sync_all(), unwritten) {
            (Err(error), Unwritten::MayBeLost) => {
                tracing::warn!(%volume, device = %device.display(), %error, "what was not written yet is lost");
                Ok(())
            }
            (flushed, _) => flushed.doing(|| format!("flush {}", device.display())),
        },
        None => {
            let number = fs::metadata(device).doing(|| format!("look at {}", device.display()))?.rdev();
            let name = device.file_name().unwrap_or_default().to_string_lossy();
            let pair = (rustix::fs::major(number), rustix::fs::minor(number));
            let holders = busy::describe(&busy::of_device(pair, &name));
            Err(HostError::Busy { volume, subject: device.display().to_string(), holders })
        }
    }
}

/// A session that stays does no harm: the volume's own device is gone.
async fn leave(places: &Places, session: &Session, tools: &Tools) {
    if let Err(error) = iscsi::logout(session, tools).await {
        tracing::warn!(volume = %places.volume, session = session.id, %error, "a session stays behind");
    }
}

/// The disks of a device, all of them by iSCSI.
fn paths(device: &str, map: Option<&Map>) -> Result<Vec<Disk>> {
    let names = map.map_or_else(|| std::iter::once(device.to_owned()).collect(), Map::disks);
    let disks = names.iter().map(|name| {
        let missing = || io::Error::other("it is no disk of an iSCSI session");
        scsi::find(name)?.ok_or_else(missing).doing(|| format!("find the session of {name}"))
    });
    disks.collect()
}

fn mark(places: &Places, device: &str) -> Result<()> {
    let marker = places.marker();
    if marked(places)?.as_deref() == Some(device) {
        return Ok(());
    }
    unmark(places)?;
    make_directory(&places.directory())?;
    File::create(&marker).doing(|| format!("make {}", marker.display()))?;
    mount::bind_file(&Path::new("/dev").join(device), &marker)
}

fn unmark(places: &Places) -> Result<()> {
    let marker = places.marker();
    super::unmount(places, &marker)?;
    match fs::remove_file(&marker) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).doing(|| format!("remove {}", marker.display()))
        }
        _ => Ok(()),
    }
}

fn refused(places: &Places, device: &str, reason: String) -> HostError {
    HostError::Refused { volume: places.volume.clone(), device: Path::new("/dev").join(device), reason }
}
