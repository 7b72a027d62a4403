//! What may be promised yet.

use model::Bytes;

use super::Lvm;
use super::entry::Kept;
use super::seen::Seen;
use super::tool::Row;
use crate::error::{FilerError, Result};

/// From here on nothing new is promised: what is promised needs the rest.
pub(super) const FULL_PERCENT: f64 = 95.0;

impl Lvm {
    pub(super) fn check_size(&self, handle: &str, size: Bytes) -> Result<()> {
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
    pub(super) fn check_room(&self, seen: &Seen, what: &str, size: Bytes) -> Result<()> {
        let pool = self.path.display();
        if let Some(state) = seen.fullness() {
            return Err(FilerError::NoCapacity(format!(
                "thin pool {pool} {state}, {FULL_PERCENT} % is the most for {what}; delete volumes or snapshots, or \
                 enlarge it with `lvextend`"
            )));
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
}

impl Seen {
    /// How full the pool is, if that is too full to begin anything.
    pub(super) fn fullness(&self) -> Option<String> {
        let Row { data_percent, metadata_percent, lv_health_status, .. } = &self.pool;
        if !lv_health_status.is_empty() {
            return Some(format!("is in the state `{lv_health_status}`"));
        }
        let full = |filled: &str| percent(filled) >= FULL_PERCENT;
        [("data", data_percent), ("metadata", metadata_percent)]
            .into_iter()
            .find_map(|(of, filled)| full(filled).then(|| format!("has {filled} % of its {of} taken")))
    }

    /// How much of the pool is taken: of its space, or of its metadata where that is nearer to its end.
    pub(super) fn taken(&self) -> f64 {
        percent(&self.pool.data_percent).max(percent(&self.pool.metadata_percent))
    }
}

/// What the pool has been promised to: thin volumes of anybody; snapshots are bounded by how full it is.
pub(super) fn promised(seen: &Seen) -> u64 {
    let volumes = seen.ours.iter().filter(|found| matches!(found.entry.kept, Kept::Volume(_)));
    volumes.map(|found| &found.row).chain(&seen.others).map(|row| number(&row.lv_size)).sum()
}

pub(super) fn number(text: &str) -> u64 {
    text.parse().unwrap_or_default()
}

/// Unknown counts as nothing taken: an inactive volume shows none.
pub(super) fn percent(text: &str) -> f64 {
    text.parse().unwrap_or_default()
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a float cast saturates, and a share is positive"
)]
pub(super) fn part(whole: u64, percent: f64) -> u64 {
    (whole as f64 * percent / 100.0) as u64
}
