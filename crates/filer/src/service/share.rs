//! The pool as one tenant sees it.
//!
//! On the pool a tenant's volume is `TENANT.HANDLE`: two tenants never meet, not even by a name. Within a tenant the
//! instance that made a volume is a label; instances see one another's volumes and change only their own.

use model::{Bytes, NodeName, Permit};

use crate::error::{FilerError, Result};
use crate::pool::Pool;
use crate::trust::Tenant;
use crate::volume::{
    CreateVolume, ForeignState, ModifyVolume, Outcome, SnapshotState, Source, VolumeState, check_name,
};
use crate::wire::{WIRE_LABEL, Wire};

/// Who owns the pool's volumes as far as the pool is concerned.
pub(super) const OWNER: &str = "leister-filer";
const INSTANCE_LABEL: &str = "leister.io/instance";

/// One instance of one tenant, and the pool.
#[derive(Debug)]
pub(super) struct Share<'a> {
    pub(super) pool: &'a Pool,
    pub(super) tenant: &'a Tenant,
    pub(super) instance: &'a str,
}

/// A volume's name on the pool.
pub(super) fn inside(tenant: &Tenant, handle: &str) -> String {
    format!("{tenant}.{handle}")
}

impl Share<'_> {
    pub(super) fn find(&self, handle: &str) -> Result<Option<VolumeState>> {
        Ok(self.pool.find(&self.inside(handle))?.and_then(|state| self.outside(state)))
    }

    pub(super) fn list(&self) -> Result<Vec<VolumeState>> {
        Ok(self.pool.list()?.into_iter().filter_map(|state| self.outside(state)).collect())
    }

    pub(super) fn create(&self, wanted: CreateVolume, wires: &[Wire]) -> Result<Outcome<VolumeState>> {
        check_wire(&wanted, wires)?;
        let handle = wanted.handle.clone();
        let there = self.own_or_absent(&handle)?.is_some();
        // A clone that is there may have outlived its source.
        if let (false, Some(Source::Volume { handle } | Source::Snapshot { handle, .. })) =
            (there, &wanted.source)
        {
            self.own(handle)?;
        }
        self.told(&handle, self.pool.create(&self.labelled(wanted)))
    }

    pub(super) fn delete(&self, handle: &str) -> Result<Outcome<()>> {
        match self.own_or_absent(handle)? {
            Some(_) => self.pool.delete_whole(&self.inside(handle)),
            None => Ok(Outcome::Unchanged(())),
        }
    }

    pub(super) fn grow(&self, handle: &str, size: Bytes) -> Result<Outcome<VolumeState>> {
        self.own(handle)?;
        self.told(handle, self.pool.grow(&self.inside(handle), size))
    }

    pub(super) fn modify(&self, handle: &str, changes: &ModifyVolume) -> Result<Outcome<VolumeState>> {
        for label in [INSTANCE_LABEL, WIRE_LABEL] {
            if changes.labels.contains_key(label) {
                return Err(FilerError::Invalid(format!("the label `{label}` of a volume stays as it is")));
            }
        }
        self.own(handle)?;
        self.told(handle, self.pool.modify(&self.inside(handle), changes))
    }

    pub(super) fn mark_staged(&self, handle: &str) -> Result<Outcome<VolumeState>> {
        self.own(handle)?;
        self.told(handle, self.pool.mark_staged(&self.inside(handle)))
    }

    /// Notes the permit. The state is the pool's own, for what has to serve it.
    pub(super) fn permit(&self, handle: &str, permit: &Permit) -> Result<Outcome<VolumeState>> {
        self.own(handle)?;
        self.pool.permit(&self.inside(handle), permit)
    }

    pub(super) fn forbid(&self, handle: &str, node: &NodeName) -> Result<Outcome<VolumeState>> {
        self.own(handle)?;
        self.pool.forbid(&self.inside(handle), node)
    }

    pub(super) fn take(&self, handle: &str, name: &str) -> Result<Outcome<SnapshotState>> {
        self.own(handle)?;
        let seen = |state| SnapshotState { handle: handle.to_owned(), ..state };
        Ok(match self.pool.take(&self.inside(handle), name)? {
            Outcome::Changed(state) => Outcome::Changed(seen(state)),
            Outcome::Unchanged(state) => Outcome::Unchanged(seen(state)),
        })
    }

    pub(super) fn list_snapshots(&self, handle: &str) -> Result<Vec<SnapshotState>> {
        if self.find(handle)?.is_none() {
            return Err(absent(handle));
        }
        let all = self.pool.list_snapshots(&self.inside(handle))?;
        Ok(all.into_iter().map(|state| SnapshotState { handle: handle.to_owned(), ..state }).collect())
    }

    pub(super) fn delete_snapshot(&self, handle: &str, name: &str) -> Result<Outcome<()>> {
        match self.own_or_absent(handle)? {
            Some(_) => self.pool.delete_snapshot(&self.inside(handle), name),
            None => Ok(Outcome::Unchanged(())),
        }
    }

    pub(super) fn restore(&self, handle: &str, name: &str) -> Result<Outcome<VolumeState>> {
        self.own(handle)?;
        self.told(handle, self.pool.restore(&self.inside(handle), name))
    }

    /// What lies at the pool's root as `TENANT.NAME` and is nobody's.
    pub(super) fn find_foreign(&self, name: &str) -> Result<Option<ForeignState>> {
        let inside = self.inside(name);
        let found = self.pool.list_foreign()?.into_iter().find(|foreign| foreign.name == inside);
        Ok(found.map(|foreign| ForeignState { name: name.to_owned(), ..foreign }))
    }

    pub(super) fn import(
        &self,
        original: &str,
        wanted: CreateVolume,
        wires: &[Wire],
    ) -> Result<Outcome<VolumeState>> {
        check_wire(&wanted, wires)?;
        let handle = wanted.handle.clone();
        self.own_or_absent(&handle)?;
        self.told(&handle, self.pool.import(&self.inside(original), &self.labelled(wanted)))
    }

    /// A volume of this instance.
    pub(super) fn own(&self, handle: &str) -> Result<VolumeState> {
        self.own_or_absent(handle)?.ok_or_else(|| absent(handle))
    }

    fn own_or_absent(&self, handle: &str) -> Result<Option<VolumeState>> {
        check_name("handle", handle)?;
        let found = self.find(handle)?;
        match found {
            Some(state) if state.owner != self.instance => Err(FilerError::Conflict(format!(
                "volume `{handle}` belongs to instance `{}`; only that may change it, this is `{}`",
                state.owner, self.instance
            ))),
            found => Ok(found),
        }
    }

    /// A volume of this instance, as the pool has it.
    pub(super) fn own_inside(&self, handle: &str) -> Result<VolumeState> {
        self.own(handle)?;
        self.pool.find(&self.inside(handle))?.ok_or_else(|| absent(handle))
    }

    pub(super) fn inside(&self, handle: &str) -> String {
        inside(self.tenant, handle)
    }

    fn labelled(&self, mut wanted: CreateVolume) -> CreateVolume {
        wanted.handle = self.inside(&wanted.handle);
        wanted.source = wanted.source.map(|source| match source {
            Source::Volume { handle } => Source::Volume { handle: self.inside(&handle) },
            Source::Snapshot { handle, name } => Source::Snapshot { handle: self.inside(&handle), name },
        });
        wanted.labels.insert(INSTANCE_LABEL.to_owned(), self.instance.to_owned());
        wanted
    }

    /// `None` for what is not this tenant's.
    pub(super) fn outside(&self, mut state: VolumeState) -> Option<VolumeState> {
        let strip = |inside: String| {
            let name = inside.strip_prefix(self.tenant.as_str()).and_then(|rest| rest.strip_prefix('.'));
            name.map(str::to_owned)
        };
        if state.owner != OWNER {
            return None;
        }
        state.handle = strip(state.handle)?;
        state.owner = state.labels.remove(INSTANCE_LABEL)?;
        state.imported_from = state.imported_from.and_then(strip);
        state.source = match state.source {
            Some(Source::Volume { handle }) => strip(handle).map(|handle| Source::Volume { handle }),
            Some(Source::Snapshot { handle, name }) => {
                strip(handle).map(|handle| Source::Snapshot { handle, name })
            }
            None => None,
        };
        Some(state)
    }

    fn told(&self, handle: &str, done: Result<Outcome<VolumeState>>) -> Result<Outcome<VolumeState>> {
        let seen = |state| self.outside(state).ok_or_else(|| absent(handle));
        Ok(match done? {
            Outcome::Changed(state) => Outcome::Changed(seen(state)?),
            Outcome::Unchanged(state) => Outcome::Unchanged(seen(state)?),
        })
    }
}

fn check_wire(wanted: &CreateVolume, wires: &[Wire]) -> Result<()> {
    let Some(text) = wanted.labels.get(WIRE_LABEL) else {
        return Err(FilerError::Invalid(format!(
            "volume `{}` is asked for without the label `{WIRE_LABEL}`; write nfs, iscsi or nvme",
            wanted.handle
        )));
    };
    let wire: Wire = text.parse().map_err(FilerError::Invalid)?;
    if !wire.carries(wanted.layout) {
        return Err(FilerError::Invalid(format!(
            "a {} volume cannot be reached by {wire}; nfs carries files, iscsi and nvme carry blocks",
            if wanted.layout == crate::volume::Layout::File { "file" } else { "block" }
        )));
    }
    // Without any the filer keeps volumes and serves none: that is said when one is to be permitted.
    if !wires.is_empty() && !wires.contains(&wire) {
        let served: Vec<&str> = wires.iter().map(|wire| wire.as_str()).collect();
        return Err(FilerError::Unsupported(format!(
            "this filer serves {}, not {wire}; start it with `--wires {wire}` too, or ask for another protocol",
            served.join(", ")
        )));
    }
    Ok(())
}

fn absent(handle: &str) -> FilerError {
    FilerError::NotFound(format!("volume `{handle}` does not exist"))
}
