use ::driver::{DriverError, ErrorKind, Outcome, Result};
use model::{
    Handle, InstanceId, Layout, Owner, PoolName, Provisioning, SnapshotName, SnapshotState, VolumeId,
    VolumeState,
};

use super::{LinuxDriver, POOL_LABEL, SPEC_LABEL};

impl LinuxDriver {
    /// A volume of the pool in the contract's words.
    pub(super) fn seen(&self, operation: &'static str, state: filer::VolumeState) -> Result<VolumeState> {
        let owner = if state.owner == self.info.instance.as_str() {
            Owner::Ours
        } else {
            InstanceId::new(&state.owner).map_or(Owner::Nobody, Owner::Other)
        };
        let placed = state.labels.get(POOL_LABEL).and_then(|name| PoolName::new(name).ok());
        let permitted = state.permits.iter().map(|permit| permit.node.name.clone()).collect();
        Ok(VolumeState {
            handle: legal(operation, Handle::new(&state.handle))?,
            owner,
            volume: VolumeId::new(&state.name).ok(),
            pool: placed.unwrap_or_else(|| self.pools[0].clone()),
            size: state.size,
            used: Some(state.used),
            layout: layout_from(state.layout),
            provisioning: match state.provisioning {
                filer::Provisioning::Thin => Provisioning::Thin,
                filer::Provisioning::Thick => Provisioning::Thick,
            },
            permitted,
            staged: state.staged,
            created: Some(state.created),
            complete: true,
            made_as: state.labels.get(SPEC_LABEL).and_then(|text| serde_json::from_str(text).ok()),
        })
    }

    pub(super) fn outcome(
        &self,
        operation: &'static str,
        outcome: filer::Outcome<filer::VolumeState>,
    ) -> Result<Outcome<VolumeState>> {
        Ok(match outcome {
            filer::Outcome::Changed(state) => Outcome::Changed(self.seen(operation, state)?),
            filer::Outcome::Unchanged(state) => Outcome::Unchanged(self.seen(operation, state)?),
        })
    }
}

pub(super) fn snapshot(operation: &'static str, state: filer::SnapshotState) -> Result<SnapshotState> {
    Ok(SnapshotState {
        volume: legal(operation, Handle::new(&state.handle))?,
        name: legal(operation, SnapshotName::new(&state.name))?,
        created: state.created,
        size: state.size,
    })
}

pub(super) fn layout_from(layout: filer::Layout) -> Layout {
    match layout {
        filer::Layout::File => Layout::File,
        filer::Layout::Block => Layout::Block,
    }
}

pub(super) fn layout_of(layout: Layout) -> filer::Layout {
    match layout {
        Layout::File => filer::Layout::File,
        Layout::Block => filer::Layout::Block,
    }
}

pub(super) fn provisioning_of(provisioning: Provisioning) -> filer::Provisioning {
    match provisioning {
        Provisioning::Thin => filer::Provisioning::Thin,
        Provisioning::Thick => filer::Provisioning::Thick,
    }
}

/// A name on the pool that is none of ours was put there by hand.
fn legal<T>(operation: &'static str, name: Result<T, model::IdError>) -> Result<T> {
    name.map_err(|e| {
        DriverError::new(ErrorKind::Internal, operation, "the pool holds a name that cannot be one")
            .because(e)
    })
}
