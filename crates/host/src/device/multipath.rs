//! Maps of device-mapper multipath, as multipathd makes them and sysfs shows them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use model::VolumeId;

use super::scsi::Disk;
use crate::error::{HostError, Result};
use crate::exec::ExecError;
use crate::filesystem::Tools;

/// A map over the paths to one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    /// The kernel's (`dm-2`).
    pub(crate) name: String,
    alias: String,
    /// `mpath-` and the name of its unit.
    uuid: String,
}

/// What `multipath -f` says of a map that somebody has open.
const IN_USE: &str = "map in use";
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often multipathd is told of paths from which it makes no map.
const TELL_EVERY: Duration = Duration::from_secs(20);
/// It takes paths one by one, and many may come at once.
const APPEARANCE: Duration = Duration::from_secs(60);

/// The map of a device of this name.
pub(crate) fn named(name: &str) -> Option<Map> {
    let attribute = |key: &str| {
        let text = fs::read_to_string(Path::new("/sys/block").join(name).join("dm").join(key));
        Some(text.ok()?.trim().to_owned())
    };
    let uuid = attribute("uuid").filter(|uuid| uuid.starts_with("mpath-"))?;
    Some(Map { name: name.to_owned(), alias: attribute("name")?, uuid })
}

/// The map that has a disk.
pub(crate) fn over(disk: &str) -> Option<Map> {
    let holders = fs::read_dir(Path::new("/sys/block").join(disk).join("holders"));
    holders.into_iter().flatten().flatten().find_map(|e| named(&e.file_name().to_string_lossy()))
}

/// Sees to one map over all these disks.
///
/// # Behavior
/// Tells multipathd that they are wanted, which suffices whatever `find_multipaths` says.
///
/// # Errors
/// There is none at the limit.
pub(crate) async fn ensure(volume: &VolumeId, disks: &[Disk], tools: &Tools) -> Result<Map> {
    let until = Instant::now() + APPEARANCE;
    let wanted: BTreeSet<String> = disks.iter().map(|disk| disk.name.clone()).collect();
    let whole = || over(&disks.first()?.name).filter(|map| map.disks().is_superset(&wanted));
    if let Some(map) = whole() {
        return Ok(map);
    }
    let mut told: Option<Instant> = None;
    loop {
        if let Some(map) = whole() {
            return Ok(map);
        }
        // Of a path that udev had not looked at yet it forgets that it was told.
        if told.is_none_or(|then| then.elapsed() > TELL_EVERY) {
            if let Some(any) = disks.first() {
                want(any, tools).await?;
            }
            for disk in disks {
                add(disk, tools).await?;
            }
            told = Some(Instant::now());
        }
        if Instant::now() > until {
            let names = wanted.into_iter().collect::<Vec<_>>().join(", ");
            return Err(HostError::Unsupported {
                volume: volume.clone(),
                problem: format!(
                    "multipathd made no map over its paths {names}; see that it runs and that nothing in \
                     /etc/multipath.conf excludes them"
                ),
            });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Has it noted that the unit of this disk is wanted, also with one path.
async fn want(disk: &Disk, tools: &Tools) -> Result<(), ExecError> {
    let tool = tools.quick("multipath").arg("-a").arg(format!("/dev/{}", disk.name));
    tool.accept(&[0, 1]).run().await.map(drop)
}

/// Tells multipathd of a path.
pub(crate) async fn add(disk: &Disk, tools: &Tools) -> Result<(), ExecError> {
    tools.quick("multipathd").args(["add", "path", &disk.name]).accept(&[0, 1]).run().await.map(drop)
}

/// Takes a path out of its map, if it is in one, and says whether it is in none now.
///
/// # Behavior
/// A multipathd that has much to do gives a command up: it is told again.
pub(crate) async fn leave_out(disk: &Disk, tools: &Tools) -> Result<bool, ExecError> {
    let until = Instant::now() + tools.limits.quick;
    while over(&disk.name).is_some() {
        if Instant::now() > until {
            return Ok(false);
        }
        forget(disk, tools).await?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(true)
}

/// Lets multipathd forget what it knows of a path.
pub(crate) async fn forget(disk: &Disk, tools: &Tools) -> Result<(), ExecError> {
    tools.quick("multipathd").args(["del", "path", &disk.name]).accept(&[0, 1]).run().await.map(drop)
}

impl Map {
    pub(crate) fn disks(&self) -> BTreeSet<String> {
        let slaves = fs::read_dir(Path::new("/sys/block").join(&self.name).join("slaves"));
        slaves.into_iter().flatten().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Whether its unit is the one that sysfs calls so (`naa.6001405…`); a name that cannot be compared is as good.
    ///
    /// # Source
    /// scsi_id(8) of systemd 252: a name of type NAA is preceded by 3, one of type EUI-64 by 2.
    pub(crate) fn is_over(&self, unit: &str) -> bool {
        let name = match unit.split_once('.') {
            Some(("naa", digits)) => format!("mpath-3{digits}"),
            Some(("eui", digits)) => format!("mpath-2{digits}"),
            _ => return true,
        };
        self.uuid.eq_ignore_ascii_case(&name)
    }

    /// Removes the map; its disks stay.
    ///
    /// # Behavior
    /// What [`ensure`] told multipathd is taken back: it would grab the unit when it comes again by one portal, under
    /// whoever uses the disk itself. Who looks at a device that was just closed, as udev's rules do, is waited for.
    pub(crate) async fn remove(&self, tools: &Tools) -> Result<(), ExecError> {
        /// On a machine with many devices and little time.
        const PASSING: Duration = Duration::from_secs(30);
        let disks = self.disks();
        let until = Instant::now() + PASSING;
        loop {
            match tools.quick("multipath").args(["-f", &self.alias]).run().await {
                Err(error) if error.says(IN_USE) && Instant::now() < until => {
                    tokio::time::sleep(LOOK_EVERY).await
                }
                done => break done.map(drop)?,
            };
        }
        for disk in disks {
            let tool = tools.quick("multipath").arg("-w").arg(format!("/dev/{disk}")).accept(&[0, 1]);
            // A path that is away cannot be asked for its name.
            if tool.run().await?.code == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Whether a map was not removed because somebody has it open.
    pub(crate) fn is_in_use(error: &ExecError) -> bool {
        error.says(IN_USE)
    }

    /// While no path works, what is asked of it fails at once.
    pub(crate) async fn stop_waiting(&self, tools: &Tools) -> Result<(), ExecError> {
        tools.quick("multipathd").args(["disablequeueing", "map", &self.alias]).run().await.map(drop)
    }

    /// Takes over the size of its disks.
    pub(crate) async fn resize(&self, tools: &Tools) -> Result<(), ExecError> {
        tools.quick("multipathd").args(["resize", "map", &self.alias]).run().await.map(drop)
    }
}
