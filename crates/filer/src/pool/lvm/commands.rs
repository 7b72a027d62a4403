//! The changes that LVM makes for us, each whole or not at all.

use std::sync::atomic::{AtomicU64, Ordering};

use model::Bytes;

use super::Lvm;
use super::entry::{Entry, Kept};
use super::seen::Found;
use super::tool;
use crate::error::Result;
use crate::volume::VolumeRecord;

impl Lvm {
    pub(super) fn save(&self, found: &Found, record: VolumeRecord) -> Result<()> {
        let old = found.entry.tags()?;
        let entry = Entry { generation: found.entry.generation, kept: Kept::Volume(record) };
        self.retag(&found.row.lv_name, &old, &entry)
    }

    pub(super) fn retag(&self, name: &str, old: &[String], entry: &Entry) -> Result<()> {
        let new = entry.tags()?;
        let mut words = vec!["lvchange"];
        old.iter().filter(|tag| !new.contains(tag)).for_each(|tag| words.extend(["--deltag", tag]));
        new.iter().filter(|tag| !old.contains(tag)).for_each(|tag| words.extend(["--addtag", tag]));
        let named = self.named(name);
        words.push(&named);
        tool::run(&words).map(drop)
    }

    /// Makes a thin snapshot of one logical volume under another name, with its record, in one step.
    pub(super) fn copy(&self, from: &str, name: &str, entry: &Entry, writable: bool) -> Result<()> {
        let tags = entry.tags()?;
        let from = self.named(from);
        let mut words = vec!["lvcreate", "-y", "-q", "-s", "-n", name];
        words.extend(if writable { ["-kn", "-ay", "-prw"] } else { ["-ky", "-an", "-pr"] });
        tags.iter().for_each(|tag| words.extend(["--addtag", tag]));
        words.push(&from);
        tool::run(&words).map(drop)
    }

    /// Lengthens a logical volume that has `now`, unless a death came after that.
    pub(super) fn extend(&self, name: &str, now: u64, size: Bytes) -> Result<()> {
        if now >= size.get() {
            return Ok(());
        }
        tool::run(&["lvextend", "-q", "-L", &format!("{}b", size.get()), &self.named(name)]).map(drop)
    }

    pub(super) fn remove(&self, name: &str) -> Result<()> {
        tool::run(&["lvremove", "-f", "-q", &self.named(name)]).map(drop)
    }
}

/// The time keeps it apart from what an earlier process left.
pub(super) fn fresh_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = jiff::Timestamp::now().as_nanosecond();
    format!("leister-{now}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
