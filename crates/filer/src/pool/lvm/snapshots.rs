//! Snapshots: read-only thin logical volumes, inactive.

use jiff::Timestamp;
use model::Bytes;

use super::Lvm;
use super::commands::fresh_name;
use super::entry::{Entry, Kept};
use super::room::{number, part, percent};
use super::seen::{Found, Seen, check_closed};
use crate::error::{FilerError, Result};
use crate::volume::{Outcome, Served, SnapshotRecord, SnapshotState, VolumeState, check_name};

impl Lvm {
    pub(in crate::pool) fn take(&self, handle: &str, name: &str) -> Result<Outcome<SnapshotState>> {
        check_name("handle", handle)?;
        check_name("snapshot name", name)?;
        let _turn = self.turn();
        let seen = self.look()?;
        let (found, record) = self.own(&seen, handle)?;
        if let Some(there) = seen.snapshots(handle).into_iter().find(|(_, _, kept)| kept.name == name) {
            return Ok(Outcome::Unchanged(self.picture(handle, there)));
        }
        self.check_room(&seen, &format!("snapshot `{name}` of volume `{handle}`"), Bytes::ZERO)?;
        let (created, kept, new) = (Timestamp::now(), SnapshotRecord::of(record, name), fresh_name());
        let (volume, owner) = (handle.to_owned(), self.owner.clone());
        let entry = Kept::Snapshot { volume, owner, created, record: kept.clone() };
        self.steps.step()?;
        self.copy(&found.row.lv_name, &new, &Entry { generation: 1, kept: entry }, false)?;
        self.steps.step()?;
        // As a look would show it: what an inactive one holds is not known.
        Ok(Outcome::Changed(self.shown(handle, &new, created, &kept, Bytes::ZERO)))
    }

    pub(in crate::pool) fn list_snapshots(&self, handle: &str) -> Result<Vec<SnapshotState>> {
        check_name("handle", handle)?;
        let seen = self.look()?;
        if seen.volume(handle).is_none() {
            return Err(FilerError::NotFound(format!("volume `{handle}` does not exist")));
        }
        Ok(seen.snapshots(handle).into_iter().map(|there| self.picture(handle, there)).collect())
    }

    pub(in crate::pool) fn find_snapshot(&self, handle: &str, name: &str) -> Result<Option<SnapshotState>> {
        check_name("handle", handle)?;
        check_name("snapshot name", name)?;
        let seen = self.look()?;
        let there = seen.snapshots(handle).into_iter().find(|(_, _, kept)| kept.name == name);
        Ok(there.map(|there| self.picture(handle, there)))
    }

    pub(in crate::pool) fn delete_snapshot(&self, handle: &str, name: &str) -> Result<Outcome<()>> {
        check_name("handle", handle)?;
        check_name("snapshot name", name)?;
        let _turn = self.turn();
        let seen = self.look()?;
        let Some((_, record)) = seen.volume(handle) else { return Ok(Outcome::Unchanged(())) };
        record.check_owner(&self.owner)?;
        let there = seen.snapshots(handle).into_iter().find(|(_, _, kept)| kept.name == name);
        let Some((found, _, _)) = there else { return Ok(Outcome::Unchanged(())) };
        self.steps.step()?;
        self.remove(&found.row.lv_name)?;
        self.steps.step()?;
        Ok(Outcome::Changed(()))
    }

    /// A copy of the snapshot under the volume's record, of the next generation: from that step on it is the volume.
    pub(in crate::pool) fn restore(&self, handle: &str, name: &str) -> Result<Outcome<VolumeState>> {
        check_name("handle", handle)?;
        check_name("snapshot name", name)?;
        let _turn = self.turn();
        let seen = self.look()?;
        let (found, record) = self.own(&seen, handle)?;
        record.check_unpermitted("restored")?;
        check_closed(found, handle, "restored")?;
        let (origin, kept) = seen.snapshot(handle, name)?;
        // The old content takes no part in it: it goes when the new one is there.
        self.check_room(&seen, &format!("the restore of volume `{handle}`"), Bytes::ZERO)?;
        let mut restored = record.clone();
        restored.staged = kept.staged;
        let whole = number(&origin.row.lv_size) >= record.size.get();
        let next = found.entry.generation + 1;
        let mut entry = Entry { generation: if whole { next } else { 0 }, kept: Kept::Volume(restored) };
        let new = fresh_name();
        self.steps.step()?;
        self.copy(&origin.row.lv_name, &new, &entry, true)?;
        self.steps.step()?;
        if !whole {
            self.extend(&new, number(&origin.row.lv_size), record.size)?;
            self.steps.step()?;
            let old = entry.tags()?;
            entry.generation = next;
            self.retag(&new, &old, &entry)?;
            self.steps.step()?;
        }
        self.remove(&found.row.lv_name)?;
        self.steps.step()?;
        Ok(Outcome::Changed(self.existing(handle)?))
    }

    fn picture(
        &self,
        handle: &str,
        (found, created, kept): (&Found, Timestamp, &SnapshotRecord),
    ) -> SnapshotState {
        let used = Bytes::new(part(number(&found.row.lv_size), percent(&found.row.data_percent)));
        self.shown(handle, &found.row.lv_name, created, kept, used)
    }

    fn shown(
        &self,
        handle: &str,
        lv_name: &str,
        created: Timestamp,
        kept: &SnapshotRecord,
        used: Bytes,
    ) -> SnapshotState {
        SnapshotState {
            handle: handle.to_owned(),
            name: kept.name.clone(),
            created,
            size: kept.size,
            used,
            exclusive: used,
            served: Served::Device { path: self.device(lv_name) },
        }
    }
}

impl Seen {
    /// Oldest first.
    pub(super) fn snapshots(&self, handle: &str) -> Vec<(&Found, Timestamp, &SnapshotRecord)> {
        let mut snapshots: Vec<_> = self
            .ours
            .iter()
            .filter_map(|found| match &found.entry.kept {
                Kept::Snapshot { volume, created, record, .. } if volume == handle => {
                    Some((found, *created, record))
                }
                _ => None,
            })
            .collect();
        snapshots.sort_by(|a, b| (a.1, &a.2.name).cmp(&(b.1, &b.2.name)));
        snapshots
    }

    pub(super) fn snapshot(&self, handle: &str, name: &str) -> Result<(&Found, &SnapshotRecord)> {
        let there = self.snapshots(handle).into_iter().find(|(_, _, kept)| kept.name == name);
        there.map(|(found, _, kept)| (found, kept)).ok_or_else(|| SnapshotRecord::absent(handle, name))
    }
}
