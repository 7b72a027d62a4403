//! Mends what attach has made: portals that were away, sessions that hang, devices that nobody has any more.
//!
//! Only what is ours is touched, only while nobody needs it, and only when it has not mended itself for a while. All
//! else is told of.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use model::VolumeId;

use super::{Places, disk, is_used_by_others, marked, namespace};
use crate::device::multipath;
use crate::device::scsi::{self, Disk, Session};
use crate::device::{iscsi, nvme};
use crate::error::Result;
use crate::filesystem::Tools;
use crate::host::{Finding, Healing, Limits, Paths};
use crate::lock::blocking;
use crate::mount::Table;
use crate::sessions::{Protocol, Record, Sessions};

/// What looked wrong, and since when.
#[derive(Debug, Default)]
pub(crate) struct Patience(Mutex<HashMap<String, Instant>>);

/// How long a unit may take to appear by a session that has just been made.
const LOOK: Duration = Duration::from_secs(2);
/// A path that multipathd is told of again and again it never takes.
const TELL_EVERY: Duration = Duration::from_secs(20);

impl Patience {
    /// Whether it has been so for the limit, in every look.
    fn is_over(&self, what: &str, is_so: bool, limit: Duration) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_so {
            seen.remove(what);
            return false;
        }
        seen.entry(what.to_owned()).or_insert_with(Instant::now).elapsed() >= limit
    }

    fn begin(&self, what: &str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(what.to_owned(), Instant::now());
    }

    /// Whether it had begun.
    fn end(&self, what: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(what).is_some()
    }
}

/// Looks at all targets at once: one that does not answer keeps none waiting.
pub(crate) async fn heal(
    mounts_root: &Path,
    limits: Limits,
    sessions: &Sessions,
    patience: &Patience,
) -> Result<Healing> {
    let volumes = volumes(mounts_root)?;
    let mut healing = Healing::default();
    let rounds = sessions.list().into_iter().map(|record| {
        let volumes = volumes.clone();
        async move {
            // An attach that is at work on the target is not waited for: there is a next round.
            let alone = tokio::time::timeout(LOOK, sessions.hold(&record.target)).await.ok()?;
            let tools = Tools { limits, hold: alone };
            let record = sessions.find(&record.target)?;
            let mut round = Round { record, volumes, tools, sessions, patience, healing: Healing::default() };
            let done = match round.record.protocol {
                Protocol::Iscsi => round.iscsi().await,
                Protocol::Nvme => round.nvme().await,
            };
            if let Err(error) = done {
                round.tell(None, format!("it could not be healed: {error}"), "it is tried again");
            }
            Some(round.healing)
        }
    });
    for done in join_all(rounds).await.into_iter().flatten() {
        healing.mended.extend(done.mended);
        healing.findings.extend(done.findings);
    }
    Ok(healing)
}

struct Round<'a> {
    record: Record,
    /// All volumes here with their devices.
    volumes: Vec<(Places, String)>,
    tools: Tools,
    sessions: &'a Sessions,
    patience: &'a Patience,
    healing: Healing,
}

impl Round<'_> {
    async fn iscsi(&mut self) -> Result<()> {
        let mut mine = Vec::new();
        for (places, device) in &self.volumes {
            let disks = disk::paths(device, multipath::named(device).as_ref()).unwrap_or_default();
            if disks.iter().any(|disk| disk.session.target == self.record.target) {
                mine.push((places.clone(), device.clone(), disks));
            }
        }
        if let Some((places, ..)) = mine.first() {
            if self.sessions.paths == Paths::All {
                self.log_in(&places.volume).await?;
            }
            for session in self.all()? {
                self.mend(&session).await?;
            }
            for (places, device, disks) in &mine {
                let disks = self.disown(places, device, disks).await?;
                self.join(places, device, &disks).await?;
            }
        }
        self.sweep(mine.is_empty()).await
    }

    /// By portals that were away.
    async fn log_in(&mut self, volume: &VolumeId) -> Result<()> {
        let missing = iscsi::missing_of(&self.record.target, &self.record.portals, &self.all()?);
        let login = |portal: String| {
            let (target, tools) = (self.record.target.clone(), self.tools.clone());
            async move { iscsi::login_again(&target, &portal, &tools).await.map(drop) }
        };
        let target = (Protocol::Iscsi, self.record.target.as_str());
        self.sessions.join(volume, target, missing.clone(), true, login).await;
        let still = iscsi::missing_of(&self.record.target, &self.record.portals, &self.all()?);
        for portal in missing {
            if still.contains(&portal) {
                let problem = format!("there is no session by its portal {portal}");
                self.tell(Some(volume), problem, "see that the portal answers; it is joined when it does");
            } else {
                self.mended(format!("joined by {portal}, which was away"));
            }
        }
        Ok(())
    }

    /// Makes a session anew that hangs although its portal answers, if nobody needs it.
    async fn mend(&mut self, session: &Session) -> Result<()> {
        let hangs = !session.is_logged_in() && self.record.is_ours(&session.portal);
        let what = format!("session {} with {} hangs", session.id, session.target);
        let is_over = self.patience.is_over(&what, hangs, self.tools.limits.patience);
        if !is_over || iscsi::knock(&session.portal).await.is_err() {
            return Ok(());
        }
        let disks = session.disks();
        for disk in &disks {
            if is_needed(disk)? {
                let problem = format!(
                    "its session by {} has not recovered although the portal answers, and {} has no other path",
                    session.portal, disk.name
                );
                let advice = "see that the target still takes the CHAP account with which the session was made; \
                              `systemctl restart iscsid` lets it begin anew and keeps sessions and data";
                self.tell(None, problem, advice);
                return Ok(());
            }
        }
        for disk in disks {
            if !multipath::leave_out(&disk, &self.tools).await? {
                return Ok(());
            }
            blocking(&self.tools.hold, move || disk.delete()).await?;
        }
        iscsi::end(session, &self.tools).await?;
        iscsi::login_again(&session.target, &session.portal, &self.tools).await?;
        self.mended(format!("made its session by {} anew, which hung", session.portal));
        Ok(())
    }

    /// Takes out paths that lead to another unit by now: a target may map its numbers anew while a path is away.
    async fn disown(&mut self, places: &Places, device: &str, disks: &[Disk]) -> Result<Vec<Disk>> {
        let Some(map) = multipath::named(device) else { return Ok(disks.to_vec()) };
        let mut proven = Vec::new();
        for disk in disks {
            let works = disk.is_running() && disk.session.is_logged_in();
            let asked = disk.clone();
            let name =
                if works { blocking(&self.tools.hold, move || asked.name_of_unit()).await? } else { None };
            if name.as_ref().is_none_or(|name| map.is_over(name)) {
                proven.push(disk.clone());
                continue;
            }
            if !multipath::leave_out(disk, &self.tools).await? {
                continue;
            }
            let gone = disk.clone();
            blocking(&self.tools.hold, move || gone.delete()).await?;
            let (name, portal) = (&disk.name, &disk.session.portal);
            let problem =
                format!("its path {name} by {portal} leads to another unit by now: it was taken out");
            self.tell(Some(&places.volume), problem, "see what the array maps to this node");
        }
        Ok(proven)
    }

    /// Adds the paths of a volume that came after it, each proven to be the same unit.
    async fn join(&mut self, places: &Places, device: &str, known: &[Disk]) -> Result<()> {
        let (Some(map), Some(first)) = (multipath::named(device), known.first()) else { return Ok(()) };
        let lun = u16::try_from(first.lun).unwrap_or_default();
        for session in self.all()?.into_iter().filter(Session::is_logged_in) {
            let is_wanted =
                iscsi::missing_of(&session.target, &self.record.portals, std::slice::from_ref(&session));
            let what = format!("{device} waits for its path by session {}", session.id);
            let mine = session.disks().into_iter().find(|disk| map.disks().contains(&disk.name));
            if let Some(path) = mine {
                if self.patience.end(&what) {
                    self.joined(places, &path);
                }
                continue;
            }
            if is_wanted.len() == self.record.portals.len() {
                continue;
            }
            let before = session.disks();
            let Some(new) = disk::scan(&places.volume, &session, lun, LOOK, &self.tools).await? else {
                continue;
            };
            let (asked, other) = (new.clone(), first.clone());
            // What the other path said when it was proven: it may not answer now.
            let serials = blocking(&self.tools.hold, move || Ok((asked.serial()?, other.known_serial()?)));
            let (serial, wanted) = serials.await?;
            if serial != wanted {
                let problem = format!(
                    "its path by {} leads to another unit, with the serial number {serial} where the volume's is {wanted}: it was not joined",
                    session.portal
                );
                self.tell(Some(&places.volume), problem, "see what the array maps to this node");
                if !before.contains(&new) {
                    blocking(&self.tools.hold, move || new.delete()).await?;
                }
                continue;
            }
            if !before.contains(&new) || self.patience.is_over(&what, true, TELL_EVERY) {
                // What multipathd knows may be of another disk that had the name.
                multipath::forget(&new, &self.tools).await?;
                multipath::add(&new, &self.tools).await?;
                self.patience.begin(&what);
            }
            if map.disks().contains(&new.name) && self.patience.end(&what) {
                self.joined(places, &new);
            }
        }
        Ok(())
    }

    fn joined(&mut self, places: &Places, path: &Disk) {
        let (volume, name, portal) = (&places.volume, &path.name, &path.session.portal);
        self.mended(format!("volume {volume}: joined its path {name} by {portal}"));
    }

    /// Removes devices of our sessions that nobody uses, and then sessions without any.
    async fn sweep(&mut self, is_unused: bool) -> Result<()> {
        let limit = self.tools.limits.patience;
        let mut ours = self.all()?;
        ours.retain(|session| self.record.is_ours(&session.portal));
        for session in ours {
            for disk in session.disks() {
                let map = multipath::over(&disk.name);
                let device = map.as_ref().map_or(disk.name.clone(), |map| map.name.clone());
                let is_idle =
                    blocking(&self.tools.hold, move || Ok(!is_used_by_others(&device, Path::new(""))?));
                let what = format!("{} of session {} is idle", disk.name, session.id);
                if !self.patience.is_over(&what, is_idle.await?, limit) {
                    continue;
                }
                if let Some(map) = map {
                    map.remove(&self.tools).await?;
                }
                let name = disk.name.clone();
                blocking(&self.tools.hold, move || disk.delete()).await?;
                self.mended(format!("removed the device {name}, which no volume has"));
            }
        }
        let what = format!("{} is unused", self.record.target);
        let is_empty = is_unused && self.all()?.iter().all(|session| session.disks().is_empty());
        if self.patience.is_over(&what, is_empty, limit) {
            for session in self.all()? {
                iscsi::logout(&session, self.sessions, &self.tools).await?;
            }
            iscsi::forget(&self.record.target, self.sessions, &self.tools).await?;
            self.mended("ended its sessions, which no volume has".to_owned());
        }
        Ok(())
    }

    async fn nvme(&mut self) -> Result<()> {
        let nqn = self.record.target.clone();
        let subsystem = nvme::find(&nqn);
        let devices = subsystem.as_ref().map(|subsystem| subsystem.namespaces()).unwrap_or_default();
        let mine = self.volumes.iter().find(|(_, device)| devices.contains(device)).cloned();
        let what = format!("{nqn} is unused");
        let limit = self.tools.limits.patience;
        let Some((places, _)) = mine else {
            if self.patience.is_over(&what, true, limit) {
                namespace::leave_unused(Path::new(""), &nqn, &self.tools, self.sessions).await?;
                self.mended("ended its connections, which no volume has".to_owned());
            }
            return Ok(());
        };
        self.patience.is_over(&what, false, limit);
        let controllers = || nvme::find(&nqn).map(|s| s.controllers()).unwrap_or_default();
        let before = controllers();
        if self.sessions.paths == Paths::All && nvme::has_multipath() {
            let portals: Vec<String> = self.record.portals.iter().cloned().collect();
            namespace::join(&places.volume, &nqn, &portals, &self.tools, self.sessions).await?;
            let now = controllers();
            for portal in portals {
                let is_in = |all: &[nvme::Controller]| all.iter().any(|c| c.is_by(&portal));
                if !is_in(&now) {
                    let problem = format!("there is no connection by its portal {portal}");
                    self.tell(
                        Some(&places.volume),
                        problem,
                        "see that the portal answers; it is joined when it does",
                    );
                } else if !is_in(&before) {
                    self.mended(format!("joined by {portal}, which was away"));
                }
            }
        }
        for controller in controllers() {
            let what = format!("{} of {nqn} hangs", controller.name);
            if self.patience.is_over(&what, !controller.is_live(), limit) {
                let problem = format!("its connection by {} has not come back", controller.portal);
                let advice =
                    "see that the portal answers and lets this node in; the kernel tries all the time";
                self.tell(Some(&places.volume), problem, advice);
            }
        }
        Ok(())
    }

    fn all(&self) -> Result<Vec<Session>> {
        Ok(scsi::sessions()?.into_iter().filter(|s| s.target == self.record.target).collect())
    }

    fn mended(&mut self, what: String) {
        self.healing.mended.push(format!("{}: {what}", self.record.target));
    }

    fn tell(&mut self, volume: Option<&VolumeId>, problem: String, advice: &str) {
        self.healing.findings.push(Finding {
            volume: volume.cloned(),
            subject: format!("target {}", self.record.target),
            problem,
            advice: advice.to_owned(),
        });
    }
}

/// Whether anybody would notice that a disk goes: it is used, and there is no other path that works.
fn is_needed(disk: &Disk) -> Result<bool> {
    let Some(map) = multipath::over(&disk.name) else {
        return is_used_by_others(&disk.name, Path::new(""));
    };
    let others = map.disks().into_iter().filter(|name| *name != disk.name);
    let mut others = others.filter_map(|name| scsi::find(&name).ok().flatten());
    let works = others.any(|other| other.is_running() && other.session.is_logged_in());
    Ok(!works && is_used_by_others(&map.name, Path::new(""))?)
}

fn volumes(mounts_root: &Path) -> Result<Vec<(Places, String)>> {
    let mut volumes = Vec::new();
    for point in Table::read()?.below(mounts_root).map(|e| e.point.clone()).collect::<Vec<PathBuf>>() {
        let volume = point.parent().and_then(|directory| directory.file_name()?.to_str());
        let Some(volume) = volume.and_then(|name| VolumeId::new(name).ok()) else { continue };
        let places = Places { volume, mounts_root: mounts_root.to_owned() };
        if point == places.marker()
            && let Some(device) = marked(&places)?
        {
            volumes.push((places, device));
        }
    }
    Ok(volumes)
}
