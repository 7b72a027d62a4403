//! A thin pool of LVM: a volume is a thin logical volume, its record in its tags.
//!
//! # Behavior
//! Each change that counts is one command, and LVM makes that whole or not at all: a new volume and its record, a
//! snapshot and its record, a restore as a new volume with a higher generation. Opening the pool removes the rest.

mod entry;
mod snapshots;
mod tool;

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::{Bytes, NodeName, Permit};

use crate::error::{Context, FilerError, Result};
use crate::pool::steps::Steps;
use crate::pool::{Abilities, Ability, LayoutAbilities, PoolSpec, PoolStats, lock};
use crate::volume::{
    CreateVolume, Damage, ForeignState, Layout, Outcome, Provisioning, Served, Source, VolumeRecord,
    VolumeState, check_name,
};
use entry::{Entry, Kept};
use tool::Row;

/// From here on nothing new is promised: what is promised needs the rest.
const FULL_PERCENT: f64 = 95.0;
const LOCKS: &str = "/run/leister/pools";
const NO_IMPORT: &str =
    "a logical volume of others may be in use under its name; copy its content into a new volume";
const NO_THICK: &str =
    "a thin pool sets no space aside for one volume; ask for a thin one, and leave `overcommit` at 1";

/// A thin pool, opened.
#[derive(Debug)]
pub(super) struct Lvm {
    path: PathBuf,
    group: String,
    pool: String,
    owner: String,
    overcommit: f64,
    extent: Bytes,
    pub(super) steps: Steps,
    /// LVM changes one group at a time; what is looked at must still hold when it is changed.
    turn: Mutex<()>,
    _lock: File,
}

/// A logical volume of ours.
#[derive(Clone, Debug)]
struct Found {
    row: Row,
    entry: Entry,
}

/// All that a look at the group gives.
struct Seen {
    pool: Row,
    ours: Vec<Found>,
    damaged: Vec<Damage>,
    others: Vec<Row>,
}

impl Lvm {
    /// # Errors
    /// `NotFound` without the pool, `Unsupported` for what is no thin pool or does not zero.
    pub(super) fn open(spec: &PoolSpec, group: &str, pool: &str) -> Result<Lvm> {
        check_name("volume group", group)?;
        check_name("thin pool", pool)?;
        fs::create_dir_all(LOCKS).while_doing("create directory", LOCKS)?;
        let lock = lock::take(&Path::new(LOCKS).join(format!("{group}.lock")), &spec.path)?;
        let mut lvm = Lvm {
            path: spec.path.clone(),
            group: group.to_owned(),
            pool: pool.to_owned(),
            owner: spec.owner.clone(),
            overcommit: spec.overcommit,
            extent: Bytes::ZERO,
            steps: Steps::default(),
            turn: Mutex::default(),
            _lock: lock,
        };
        let seen = lvm.look()?;
        if seen.pool.zero != "1" {
            return Err(FilerError::Unsupported(format!(
                "thin pool {} does not zero new space, so that a volume could show what another held; turn it on with \
                 `lvchange --zero y {}`",
                spec.path.display(),
                spec.path.display()
            )));
        }
        lvm.extent = Bytes::new(number(&seen.pool.vg_extent_size));
        lvm.sweep(seen)?;
        Ok(lvm)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn abilities(&self) -> Abilities {
        let blocks = LayoutAbilities { thick: Ability::Lacks(NO_THICK), ..LayoutAbilities::ALL };
        Abilities {
            kind: "lvm",
            layouts: [(Layout::Block, blocks)].into(),
            import: Ability::Lacks(NO_IMPORT),
            granularity: self.extent,
            smallest: self.extent,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        self.look().map(drop)
    }

    pub(super) fn stats(&self) -> Result<PoolStats> {
        let seen = self.look()?;
        let total = number(&seen.pool.lv_size);
        let used = part(total, percent(&seen.pool.data_percent));
        Ok(PoolStats {
            total: Bytes::new(total),
            capacity: Bytes::new(total),
            used: Bytes::new(used),
            free: Bytes::new(total.saturating_sub(used)),
            reserved: Bytes::ZERO,
            provisioned_thin: Bytes::new(promised(&seen)),
            thin_limit: Bytes::new(part(total, self.overcommit * 100.0)),
        })
    }

    pub(super) fn create(&self, wanted: &CreateVolume) -> Result<Outcome<VolumeState>> {
        wanted.check()?;
        self.check_offered(wanted)?;
        let _turn = self.turn();
        let seen = self.look()?;
        seen.check_whole(&wanted.handle)?;
        if let Some((found, record)) = seen.volume(&wanted.handle) {
            self.check_owner(record)?;
            if let Some(difference) = record.differs_from(wanted) {
                return Err(FilerError::Conflict(format!(
                    "volume `{}` exists, but {difference}; use another name",
                    wanted.handle
                )));
            }
            return Ok(Outcome::Unchanged(self.view(found, record)));
        }
        self.check_room(&seen, &format!("volume `{}`", wanted.handle), wanted.size)?;
        let mut record = wanted.record(&self.owner, false);
        let name = fresh_name();
        match wanted.source.as_ref().map(|source| self.origin(&seen, wanted, source)).transpose()? {
            None => {
                let tags = Entry { generation: 1, kept: Kept::Volume(record) }.tags()?;
                let size = format!("{}b", wanted.size.get());
                let mut words = vec![
                    "lvcreate",
                    "-y",
                    "-W",
                    "y",
                    "--thinpool",
                    &self.pool,
                    "-V",
                    &size,
                    "-n",
                    &name,
                    "-q",
                ];
                tags.iter().for_each(|tag| words.extend(["--addtag", tag]));
                words.push(&self.group);
                self.steps.step()?;
                tool::run(&words)?;
            }
            Some((origin, staged)) => {
                record.staged = staged;
                let whole = number(&origin.row.lv_size) == wanted.size.get();
                let mut entry = Entry { generation: u64::from(whole), kept: Kept::Volume(record) };
                self.steps.step()?;
                self.copy(&origin.row.lv_name, &name, &entry, true)?;
                self.steps.step()?;
                if !whole {
                    self.extend(&name, wanted.size)?;
                    self.steps.step()?;
                    let old = entry.tags()?;
                    entry.generation = 1;
                    self.retag(&name, &old, &entry)?;
                }
            }
        }
        self.steps.step()?;
        Ok(Outcome::Changed(self.existing(&wanted.handle)?))
    }

    pub(super) fn find(&self, handle: &str) -> Result<Option<VolumeState>> {
        check_name("handle", handle)?;
        let seen = self.look()?;
        seen.check_whole(handle)?;
        Ok(seen.volume(handle).map(|(found, record)| self.view(found, record)))
    }

    pub(super) fn list(&self) -> Result<Vec<VolumeState>> {
        let seen = self.look()?;
        Ok(seen.volumes().into_values().map(|(found, record)| self.view(found, record)).collect())
    }

    pub(super) fn damaged(&self) -> Result<Vec<Damage>> {
        Ok(self.look()?.damaged)
    }

    pub(super) fn delete(&self, handle: &str) -> Result<Outcome<()>> {
        check_name("handle", handle)?;
        let _turn = self.turn();
        let seen = self.look()?;
        seen.check_whole(handle)?;
        let Some((found, record)) = seen.volume(handle) else { return Ok(Outcome::Unchanged(())) };
        self.check_owner(record)?;
        record.check_unpermitted("deleted")?;
        let snapshots = seen.snapshots(handle);
        if !snapshots.is_empty() {
            let names: Vec<&str> = snapshots.iter().map(|(_, _, kept)| kept.name.as_str()).collect();
            return Err(FilerError::InUse(format!(
                "volume `{handle}` has the snapshots {}; delete them first",
                names.join(", ")
            )));
        }
        check_closed(found, handle, "deleted")?;
        self.steps.step()?;
        self.remove(&found.row.lv_name)?;
        self.steps.step()?;
        Ok(Outcome::Changed(()))
    }

    pub(super) fn grow(&self, handle: &str, size: Bytes) -> Result<Outcome<VolumeState>> {
        check_name("handle", handle)?;
        self.check_size(handle, size)?;
        let _turn = self.turn();
        let seen = self.look()?;
        let (found, record) = self.own(&seen, handle)?;
        if size < record.size {
            return Err(FilerError::Invalid(format!(
                "volume `{handle}` has {} and cannot shrink to {size}; clone what is needed into a smaller one",
                record.size
            )));
        }
        if size == record.size {
            return Ok(Outcome::Unchanged(self.view(found, record)));
        }
        self.check_room(&seen, &format!("volume `{handle}`"), size.saturating_sub(record.size))?;
        self.steps.step()?;
        self.extend(&found.row.lv_name, size)?;
        self.steps.step()?;
        let larger = VolumeRecord { size, ..record.clone() };
        self.save(found, larger)?;
        self.steps.step()?;
        Ok(Outcome::Changed(self.existing(handle)?))
    }

    pub(super) fn permit(&self, handle: &str, permit: &Permit) -> Result<Outcome<VolumeState>> {
        self.change_record(handle, |record| record.permit(permit))
    }

    pub(super) fn forbid(&self, handle: &str, node: &NodeName) -> Result<Outcome<VolumeState>> {
        self.change_record(handle, |record| Ok(record.forbid(node)))
    }

    pub(super) fn mark_staged(&self, handle: &str) -> Result<Outcome<VolumeState>> {
        self.change_record(handle, |record| Ok(record.staged.replace(true) != Some(true)))
    }

    pub(super) fn list_foreign(&self) -> Result<Vec<ForeignState>> {
        let foreign = |row: Row| {
            let used = Bytes::new(part(number(&row.lv_size), percent(&row.data_percent)));
            ForeignState { name: row.lv_name, subvolume: false, used }
        };
        Ok(self.look()?.others.into_iter().map(foreign).collect())
    }

    pub(super) fn import(&self, original: &str, _: &CreateVolume) -> Result<Outcome<VolumeState>> {
        Err(FilerError::Unsupported(format!("`{original}` cannot be imported: {NO_IMPORT}")))
    }

    pub(super) fn release(&self, handle: &str) -> Result<Outcome<()>> {
        Err(FilerError::Invalid(format!("volume `{handle}` was not imported; delete it, or keep it")))
    }

    fn look(&self) -> Result<Seen> {
        let rows = tool::rows(&self.group)?;
        let pool = rows.iter().find(|row| row.lv_name == self.pool).cloned().ok_or_else(|| {
            FilerError::NotFound(format!(
                "volume group `{}` has no thin pool `{}`; make one with `lvcreate --type thin-pool`",
                self.group, self.pool
            ))
        })?;
        if !pool.lv_attr.starts_with('t') {
            return Err(FilerError::Unsupported(format!(
                "{} is no thin pool; name one",
                self.path.display()
            )));
        }
        let mut seen = Seen { pool, ours: Vec::new(), damaged: Vec::new(), others: Vec::new() };
        for row in rows.into_iter().filter(|row| row.pool_lv == self.pool) {
            let problem = match Entry::read(&row.lv_tags) {
                Ok(None) => {
                    seen.others.push(row);
                    continue;
                }
                Ok(Some(entry)) => match &entry.kept {
                    Kept::Volume(record) => match record.check_format() {
                        Ok(()) => {
                            seen.ours.push(Found { row, entry });
                            continue;
                        }
                        Err(error) => error.to_string(),
                    },
                    Kept::Snapshot { .. } => {
                        seen.ours.push(Found { row, entry });
                        continue;
                    }
                },
                Err(problem) => problem,
            };
            let problem =
                format!("logical volume `{}/{}`: {problem}; it is left as it is", self.group, row.lv_name);
            seen.damaged.push(Damage { handle: row.lv_name.clone(), problem });
            seen.others.push(row);
        }
        Ok(seen)
    }

    /// Removes what a death left, and makes the devices of the rest.
    fn sweep(&self, seen: Seen) -> Result<()> {
        let current: HashMap<String, String> = seen
            .volumes()
            .into_iter()
            .map(|(handle, (found, _))| (handle.to_owned(), found.row.lv_name.clone()))
            .collect();
        for found in &seen.ours {
            let Kept::Volume(record) = &found.entry.kept else { continue };
            let name = &found.row.lv_name;
            let counts = current.get(&record.handle) == Some(name);
            if !counts && record.owner == self.owner {
                self.remove(name)?;
            } else if counts && found.row.lv_active != "1" {
                tool::run(&["lvchange", "-ay", "-K", &self.named(name)])?;
            }
        }
        Ok(())
    }

    fn existing(&self, handle: &str) -> Result<VolumeState> {
        let seen = self.look()?;
        let (found, record) = self.own(&seen, handle)?;
        Ok(self.view(found, record))
    }

    fn own<'a>(&self, seen: &'a Seen, handle: &str) -> Result<(&'a Found, &'a VolumeRecord)> {
        let (found, record) = seen.volume(handle).ok_or_else(|| {
            FilerError::NotFound(format!("volume `{handle}` does not exist on pool {}", self.path.display()))
        })?;
        self.check_owner(record)?;
        Ok((found, record))
    }

    fn change_record(
        &self,
        handle: &str,
        change: impl FnOnce(&mut VolumeRecord) -> Result<bool>,
    ) -> Result<Outcome<VolumeState>> {
        check_name("handle", handle)?;
        let _turn = self.turn();
        let seen = self.look()?;
        let (found, record) = self.own(&seen, handle)?;
        let mut changed = record.clone();
        if !change(&mut changed)? {
            return Ok(Outcome::Unchanged(self.view(found, record)));
        }
        let state = self.view(found, &changed);
        self.save(found, changed)?;
        Ok(Outcome::Changed(state))
    }

    fn save(&self, found: &Found, record: VolumeRecord) -> Result<()> {
        let old = found.entry.tags()?;
        let entry = Entry { generation: found.entry.generation, kept: Kept::Volume(record) };
        self.retag(&found.row.lv_name, &old, &entry)
    }

    fn retag(&self, name: &str, old: &[String], entry: &Entry) -> Result<()> {
        let new = entry.tags()?;
        let mut words = vec!["lvchange"];
        old.iter().filter(|tag| !new.contains(tag)).for_each(|tag| words.extend(["--deltag", tag]));
        new.iter().filter(|tag| !old.contains(tag)).for_each(|tag| words.extend(["--addtag", tag]));
        let named = self.named(name);
        words.push(&named);
        tool::run(&words).map(drop)
    }

    /// Makes a thin snapshot of one logical volume under another name, with its record, in one step.
    fn copy(&self, from: &str, name: &str, entry: &Entry, writable: bool) -> Result<()> {
        let tags = entry.tags()?;
        let from = self.named(from);
        let mut words = vec!["lvcreate", "-y", "-q", "-s", "-n", name];
        words.extend(if writable { ["-kn", "-ay", "-prw"] } else { ["-ky", "-an", "-pr"] });
        tags.iter().for_each(|tag| words.extend(["--addtag", tag]));
        words.push(&from);
        tool::run(&words).map(drop)
    }

    /// Lengthens a logical volume, unless a death came after that.
    fn extend(&self, name: &str, size: Bytes) -> Result<()> {
        let rows = tool::rows(&self.group)?;
        if rows.iter().any(|row| row.lv_name == name && number(&row.lv_size) >= size.get()) {
            return Ok(());
        }
        tool::run(&["lvextend", "-q", "-L", &format!("{}b", size.get()), &self.named(name)]).map(drop)
    }

    fn remove(&self, name: &str) -> Result<()> {
        tool::run(&["lvremove", "-f", "-q", &self.named(name)]).map(drop)
    }

    fn origin<'a>(
        &self,
        seen: &'a Seen,
        wanted: &CreateVolume,
        source: &Source,
    ) -> Result<(&'a Found, Option<bool>)> {
        let (Source::Volume { handle } | Source::Snapshot { handle, .. }) = source;
        check_name("source", handle)?;
        let (found, record) = self.own(seen, handle)?;
        let (origin, size, staged) = match source {
            Source::Volume { .. } => (found, record.size, record.staged),
            Source::Snapshot { name, .. } => {
                let (found, kept) = seen.snapshot(handle, name)?;
                (found, kept.size, kept.staged)
            }
        };
        if wanted.size < size {
            return Err(FilerError::Invalid(format!(
                "volume `{}` is asked for with {}, its source `{handle}` has {size}; ask for at least that",
                wanted.handle, wanted.size
            )));
        }
        Ok((origin, staged))
    }

    fn check_offered(&self, wanted: &CreateVolume) -> Result<()> {
        let lacks =
            |what: String| Err(FilerError::Unsupported(format!("volume `{}`: {what}", wanted.handle)));
        if wanted.layout == Layout::File {
            return lacks(
                "a pool of LVM has block volumes only; ask for one, or use a pool on btrfs".to_owned(),
            );
        }
        if wanted.provisioning == Provisioning::Thick {
            return lacks(NO_THICK.to_owned());
        }
        self.check_size(&wanted.handle, wanted.size)
    }

    fn check_size(&self, handle: &str, size: Bytes) -> Result<()> {
        if size.get() > 0 && size.get().is_multiple_of(self.extent.get()) {
            return Ok(());
        }
        Err(FilerError::Invalid(format!(
            "volume `{handle}` is asked for with {} bytes; use a multiple of {}, the group's extent",
            size.get(),
            self.extent
        )))
    }

    /// A pool that runs full loses what is written to it, so nothing is begun that could bring it there.
    fn check_room(&self, seen: &Seen, what: &str, size: Bytes) -> Result<()> {
        let pool = self.path.display();
        for (of, filled) in [("data", &seen.pool.data_percent), ("metadata", &seen.pool.metadata_percent)] {
            if percent(filled) >= FULL_PERCENT {
                return Err(FilerError::NoCapacity(format!(
                    "thin pool {pool} has {filled} % of its {of} taken, {FULL_PERCENT} % is the most for {what}; delete \
                     volumes or snapshots, or enlarge it with `lvextend`"
                )));
            }
        }
        let limit = part(number(&seen.pool.lv_size), self.overcommit * 100.0);
        let free = Bytes::new(limit.saturating_sub(promised(seen)));
        if size > free {
            return Err(FilerError::NoCapacity(format!(
                "pool {pool} can promise {free} more to thin volumes; {size} were asked for {what}; delete volumes, \
                 enlarge the pool or raise its overcommit ratio ({})",
                self.overcommit
            )));
        }
        Ok(())
    }

    fn check_owner(&self, record: &VolumeRecord) -> Result<()> {
        if record.owner == self.owner {
            return Ok(());
        }
        Err(FilerError::Conflict(format!(
            "volume `{}` belongs to instance `{}`, this is `{}`; use another name, or that instance",
            record.handle, record.owner, self.owner
        )))
    }

    fn view(&self, found: &Found, record: &VolumeRecord) -> VolumeState {
        let record = record.clone();
        let used = Bytes::new(part(number(&found.row.lv_size), percent(&found.row.data_percent)));
        VolumeState {
            served: Served::Device { path: self.device(&found.row.lv_name) },
            handle: record.handle,
            owner: record.owner,
            name: record.name,
            size: record.size,
            layout: record.layout,
            provisioning: record.provisioning,
            reserved: false,
            created: record.created,
            source: record.source,
            permits: record.permits,
            staged: record.staged,
            labels: record.labels,
            imported_from: None,
            used,
            // LVM does not say what is shared.
            exclusive: used,
        }
    }

    fn named(&self, name: &str) -> String {
        format!("{}/{name}", self.group)
    }

    fn device(&self, name: &str) -> PathBuf {
        Path::new("/dev").join(&self.group).join(name)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// By handle, each once: what is being made or was replaced does not count.
    fn volumes(&self) -> HashMap<&str, (&Found, &VolumeRecord)> {
        let mut volumes: HashMap<&str, (&Found, &VolumeRecord)> = HashMap::new();
        for found in self.ours.iter().filter(|found| found.entry.generation > 0) {
            let Kept::Volume(record) = &found.entry.kept else { continue };
            let newest = volumes
                .get(record.handle.as_str())
                .is_none_or(|(known, _)| known.entry.generation < found.entry.generation);
            if newest {
                volumes.insert(&record.handle, (found, record));
            }
        }
        volumes
    }

    fn volume(&self, handle: &str) -> Option<(&Found, &VolumeRecord)> {
        self.volumes().remove(handle)
    }

    /// A damaged volume may be the one that is asked for: nobody can tell.
    fn check_whole(&self, handle: &str) -> Result<()> {
        match self.damaged.first() {
            Some(damage) if self.volume(handle).is_none() => Err(FilerError::Conflict(format!(
                "whether there is a volume `{handle}` cannot be told: {}; mend its tags or remove it by hand",
                damage.problem
            ))),
            _ => Ok(()),
        }
    }
}

fn check_closed(found: &Found, handle: &str, what: &str) -> Result<()> {
    if found.row.lv_device_open == "1" {
        return Err(FilerError::InUse(format!(
            "the device of volume `{handle}` is open and it cannot be {what}; unmount it first"
        )));
    }
    Ok(())
}

/// What the pool has been promised to: thin volumes of anybody; snapshots are bounded by how full it is.
fn promised(seen: &Seen) -> u64 {
    let volumes = seen.ours.iter().filter(|found| matches!(found.entry.kept, Kept::Volume(_)));
    volumes.map(|found| &found.row).chain(&seen.others).map(|row| number(&row.lv_size)).sum()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_default()
}

/// Unknown counts as nothing taken: an inactive volume shows none.
fn percent(text: &str) -> f64 {
    text.parse().unwrap_or_default()
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a float cast saturates, and a share is positive"
)]
fn part(whole: u64, percent: f64) -> u64 {
    (whole as f64 * percent / 100.0) as u64
}

/// The time keeps it apart from what an earlier process left.
fn fresh_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = jiff::Timestamp::now().as_nanosecond();
    format!("leister-{now}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
