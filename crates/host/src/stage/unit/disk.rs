//! Units by iSCSI: a disk, or the map over several.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use futures::future::join_all;
use model::{IscsiRoute, VolumeId};

use super::{APPEARANCE, LOOK_EVERY, Places, marked, path_of, refused};
use crate::device::multipath::{self, Map};
use crate::device::scsi::{self, Disk, Session};
use crate::device::{busy, iscsi};
use crate::error::{Doing, HostError, Result};
use crate::filesystem::Tools;
use crate::host::Paths;
use crate::lock::blocking;
use crate::sessions::Sessions;

/// Logs in and finds the device of a unit. The caller holds the target.
///
/// # Errors
/// Nothing of ours is left then.
pub(super) async fn find(
    places: &Places,
    route: &IscsiRoute,
    tools: &Tools,
    ours: &Sessions,
) -> Result<String> {
    let found = async {
        let sessions = iscsi::login(&places.volume, route, ours, tools).await;
        let sessions = sessions.map_err(|e| iscsi::lacking(&places.volume).unwrap_or(e))?;
        match marked(places)? {
            // What is in use stays, whatever paths there are by now.
            Some(device) => prove_all(places, route, &device, tools).await.map(|()| device),
            None => find_by(places, route, &sessions, ours.paths, tools).await,
        }
    };
    let found = found.await;
    if found.is_err() {
        leave(places, &route.target, tools, ours).await;
    }
    found
}

/// Takes over the size of the disks of a device.
pub(super) async fn resize(device: &str, tools: &Tools) -> Result<()> {
    let map = multipath::named(device);
    for disk in paths(device, map.as_ref())? {
        blocking(&tools.hold, move || disk.rescan()).await?;
    }
    if let Some(map) = map {
        map.resize(tools).await?;
    }
    Ok(())
}

/// Removes the map, the disks, and sessions that nobody uses any more: in this order.
pub(super) async fn take_down(places: &Places, device: &str, tools: &Tools, ours: &Sessions) -> Result<()> {
    let map = multipath::named(device);
    let disks = paths(device, map.as_ref())?;
    let target = disks.first().map(|disk| disk.session.target.clone());
    if let Some(map) = map {
        map.remove(tools).await.map_err(|error| match Map::is_in_use(&error) {
            true => in_use(&places.volume, device),
            false => error.into(),
        })?;
    }
    // The kernel waits a good while for each; those of other volumes may go at the same time.
    let deletes = disks.into_iter().map(|disk| blocking(&tools.hold, move || disk.delete()));
    for deleted in join_all(deletes).await {
        deleted?;
    }
    if let Some(target) = target {
        let _alone = ours.hold(&target).await;
        leave(places, &target, tools, ours).await;
    }
    Ok(())
}

fn in_use(volume: &VolumeId, device: &str) -> HostError {
    let at = path_of(device);
    let number = std::fs::metadata(&at).map(|found| found.rdev()).unwrap_or_default();
    let pair = (rustix::fs::major(number), rustix::fs::minor(number));
    let holders = busy::describe(&busy::of_device(pair, device));
    HostError::Busy { volume: volume.clone(), subject: at.display().to_string(), holders }
}

/// The target of a device to which no path works any more.
pub(super) fn dead_target(device: &str) -> Result<Option<String>> {
    let disks = paths(device, multipath::named(device).as_ref())?;
    let works = disks.iter().any(|disk| disk.is_running() && disk.session.is_logged_in());
    Ok(disks.into_iter().next().filter(|_| !works).map(|disk| disk.session.target))
}

/// Lets what waits for a device fail: it has no path any more.
pub(super) async fn cut_off(device: &str, tools: &Tools) -> Result<()> {
    let map = multipath::named(device);
    let disks = paths(device, map.as_ref())?;
    if let Some(map) = map {
        map.stop_waiting(tools).await?;
    }
    for disk in disks {
        blocking(&tools.hold, move || disk.delete()).await?;
    }
    Ok(())
}

/// The disks of a device, all of them by iSCSI.
pub(super) fn paths(device: &str, map: Option<&Map>) -> Result<Vec<Disk>> {
    let names = map.map_or_else(|| std::iter::once(device.to_owned()).collect(), Map::disks);
    let disks = names.iter().map(|name| {
        let missing = || io::Error::other("it is no disk of an iSCSI session");
        scsi::find(name)?.ok_or_else(missing).doing(|| format!("find the session of {name}"))
    });
    disks.collect()
}

/// Looks for a unit by a session, letting the kernel scan for it.
///
/// # Errors
/// `Unanswered`: what the kernel has asked the target waits until that answers, or its session is given up.
pub(super) async fn scan(
    volume: &VolumeId,
    session: &Session,
    lun: u16,
    patience: Duration,
    tools: &Tools,
) -> Result<Option<Disk>> {
    let until = Instant::now() + patience;
    loop {
        let mut found = session.disks().into_iter().find(|disk| disk.lun == u64::from(lun));
        // The kernel is still at it while there is no node.
        found = found.filter(|disk| path_of(&disk.name).exists());
        if found.is_some() || Instant::now() > until {
            return Ok(found);
        }
        let at = session.clone();
        answered(volume, "look for its unit", tools, move || at.scan(lun)).await?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The device of a unit: a disk, or the map over several. Without one, the disks that came for it go again.
async fn find_by(
    places: &Places,
    route: &IscsiRoute,
    sessions: &[Session],
    wanted: Paths,
    tools: &Tools,
) -> Result<String> {
    let mut fresh = Vec::new();
    let found = find_among(places, route, sessions, wanted, &mut fresh, tools).await;
    if found.is_err() {
        // What multipathd has taken is left to the healing.
        for disk in fresh.into_iter().filter(|disk| multipath::over(&disk.name).is_none()) {
            blocking(&tools.hold, move || disk.delete()).await?;
        }
    }
    found
}

async fn find_among(
    places: &Places,
    route: &IscsiRoute,
    sessions: &[Session],
    wanted: Paths,
    fresh: &mut Vec<Disk>,
    tools: &Tools,
) -> Result<String> {
    let until = Instant::now() + APPEARANCE;
    let mut disks: Vec<Disk> = Vec::new();
    let mut sessions = working(places, &route.target, sessions, until).await?;
    if wanted == Paths::One {
        sessions.truncate(1);
    }
    for session in sessions {
        let known = session.disks().into_iter().any(|disk| disk.lun == u64::from(route.lun));
        let patience = until.saturating_duration_since(Instant::now());
        let Some(found) = scan(&places.volume, session, route.lun, patience, tools).await? else { continue };
        if !known {
            fresh.push(found.clone());
        }
        prove(places, route, &found, tools).await?;
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
        [only] if wanted == Paths::One || route.portals.len() == 1 => match multipath::over(&only.name) {
            Some(map) => prove_all(places, route, &map.name, tools).await.map(|()| map.name),
            None => Ok(only.name.clone()),
        },
        // Also over one disk, where others may come later.
        several => {
            let map = multipath::ensure(&places.volume, several, tools).await?;
            prove_all(places, route, &map.name, tools).await?;
            Ok(map.name)
        }
    }
}

/// The sessions by which a unit can be looked for: by one that recovers the kernel would do so until it gives that up.
async fn working<'s>(
    places: &Places,
    target: &str,
    sessions: &'s [Session],
    until: Instant,
) -> Result<Vec<&'s Session>> {
    loop {
        let working: Vec<_> = sessions.iter().filter(|session| session.is_logged_in()).collect();
        if !working.is_empty() {
            return Ok(working);
        }
        if Instant::now() > until {
            let portals: Vec<_> = sessions.iter().map(|session| session.portal.as_str()).collect();
            let problem = format!(
                "no session with {target} works, and none has come back by {}; see that the portal answers",
                portals.join(", ")
            );
            return Err(HostError::Unreachable { volume: places.volume.clone(), problem });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Sees that all disks of a device are the volume: a map may have more than those of this route.
///
/// # Behavior
/// One that cannot be asked now is left to the healing, as long as another one can.
pub(super) async fn prove_all(
    places: &Places,
    route: &IscsiRoute,
    device: &str,
    tools: &Tools,
) -> Result<()> {
    let mut disks = paths(device, multipath::named(device).as_ref())?;
    disks.retain(|disk| disk.is_running() && disk.session.is_logged_in());
    if disks.is_empty() {
        let problem = format!("no path to its device {device} works; see the target {}", route.target);
        return Err(HostError::Unreachable { volume: places.volume.clone(), problem });
    }
    for disk in disks {
        prove(places, route, &disk, tools).await?;
    }
    Ok(())
}

/// Sees that a disk is the volume, before anything else is done with it.
async fn prove(places: &Places, route: &IscsiRoute, disk: &Disk, tools: &Tools) -> Result<()> {
    let asked = disk.clone();
    let asking = answered(&places.volume, "ask its unit who it is", tools, move || asked.serial());
    let serial = asking.await?;
    if serial == route.serial {
        return Ok(());
    }
    let reason = format!(
        "its serial number is {serial} and the volume's is {}: unit {} of {} at {} is another volume",
        route.serial, route.lun, route.target, disk.session.portal
    );
    Err(refused(places, &disk.name, reason))
}

/// Waits for what a target has to answer, until the limit.
async fn answered<T: Send + 'static>(
    volume: &VolumeId,
    doing: &'static str,
    tools: &Tools,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let limit = tools.limits.network;
    let unanswered = |_| HostError::Unanswered { volume: volume.clone(), doing, limit };
    tokio::time::timeout(limit, blocking(&tools.hold, work)).await.map_err(unanswered)?
}

/// Ends our sessions with a target that have no unit. One that stays does no harm: the volume's own device is gone.
pub(super) async fn leave(places: &Places, target: &str, tools: &Tools, ours: &Sessions) {
    let left = async {
        for session in scsi::sessions()?.into_iter().filter(|s| s.target == target) {
            iscsi::logout(&session, ours, tools).await?;
        }
        iscsi::forget(target, ours, tools).await
    };
    if let Err(error) = left.await {
        tracing::warn!(volume = %places.volume, target, %error, "a session stays behind");
    }
}
