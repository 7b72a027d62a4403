//! One look at the group: what is ours, what is damaged, what is others'.

use std::collections::HashMap;

use super::Lvm;
use super::entry::{Entry, Kept};
use super::tool::{self, Row};
use crate::error::{FilerError, Result};
use crate::volume::{Damage, VolumeRecord};

/// A logical volume of ours.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) row: Row,
    pub(super) entry: Entry,
}

/// All that a look at the group gives.
pub(super) struct Seen {
    pub(super) pool: Row,
    pub(super) ours: Vec<Found>,
    pub(super) damaged: Vec<Damage>,
    pub(super) others: Vec<Row>,
}

impl Lvm {
    pub(super) fn look(&self) -> Result<Seen> {
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
}

impl Seen {
    /// By handle, each once: what is being made or was replaced does not count.
    pub(super) fn volumes(&self) -> HashMap<&str, (&Found, &VolumeRecord)> {
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

    pub(super) fn volume(&self, handle: &str) -> Option<(&Found, &VolumeRecord)> {
        self.volumes().remove(handle)
    }

    /// A damaged volume may be the one that is asked for: nobody can tell.
    pub(super) fn check_whole(&self, handle: &str) -> Result<()> {
        match self.damaged.first() {
            Some(damage) if self.volume(handle).is_none() => Err(FilerError::Conflict(format!(
                "whether there is a volume `{handle}` cannot be told: {}; mend its tags or remove it by hand",
                damage.problem
            ))),
            _ => Ok(()),
        }
    }
}

pub(super) fn check_closed(found: &Found, handle: &str, what: &str) -> Result<()> {
    if found.row.lv_device_open == "1" {
        return Err(FilerError::InUse(format!(
            "the device of volume `{handle}` is open and it cannot be {what}; unmount it first"
        )));
    }
    Ok(())
}
