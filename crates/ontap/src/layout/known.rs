//! What was last seen of our volumes: most rights then need no look before, and the poll of pools no list.
//!
//! A hint and never the truth: whoever acts on it names objects by their UUID and looks afterwards.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::{Bytes, Handle};

use super::{Found, Unit};

#[derive(Debug, Default)]
pub(crate) struct Known {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    volumes: HashMap<Handle, Seen>,
    /// All of them have been listed once.
    complete: bool,
}

/// A volume of ours.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) uuid: String,
    pub(crate) unit: Unit,
    /// It has an export policy of its own.
    pub(crate) exported: bool,
    aggregate: Option<String>,
    size: Bytes,
}

impl Known {
    pub(crate) fn get(&self, handle: &Handle) -> Option<Seen> {
        self.inner().volumes.get(handle).cloned()
    }

    pub(crate) fn note(&self, found: &Found) {
        self.inner().volumes.insert(found.handle.clone(), Seen::of(found));
    }

    pub(crate) fn forget(&self, handle: &Handle) {
        self.inner().volumes.remove(handle);
    }

    /// Who may reach it has just been changed.
    pub(crate) fn change(&self, handle: &Handle, change: impl FnOnce(&mut Seen)) {
        if let Some(seen) = self.inner().volumes.get_mut(handle) {
            change(seen);
        }
    }

    /// These are all.
    pub(crate) fn replace(&self, all: &[Found]) {
        let mut inner = self.inner();
        inner.volumes = all.iter().map(|found| (found.handle.clone(), Seen::of(found))).collect();
        inner.complete = true;
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.inner().complete
    }

    /// Sizes summed up by aggregate.
    pub(crate) fn promised(&self) -> HashMap<String, u64> {
        let mut promised = HashMap::new();
        for seen in self.inner().volumes.values() {
            if let Some(aggregate) = &seen.aggregate {
                *promised.entry(aggregate.clone()).or_default() += seen.size.get();
            }
        }
        promised
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    pub(crate) fn of(found: &Found) -> Seen {
        Seen {
            uuid: found.volume.uuid.clone(),
            unit: found.unit.clone(),
            exported: matches!(found.unit, Unit::Files) && found.policy().is_some(),
            aggregate: found.volume.aggregates.first().map(|aggregate| aggregate.name.clone()),
            size: found.size(),
        }
    }
}
