//! What the records say, as the kernel's servers take it.

use std::collections::BTreeSet;

use model::{Bytes, Handle, NodeName, Route};

use super::ServiceSpec;
use crate::access::{
    Access, Content, IscsiSettings, NfsSettings, NvmeSettings, Protocol, Served as Offered, Settings,
};
use crate::error::{ErrorKind, FilerError, Result};
use crate::volume::{Served, VolumeState};
use crate::wire::{WIRE_LABEL, Wire};

/// The kernel's servers; `None` where none is wanted.
#[derive(Debug)]
pub(super) struct Serving(Option<Access>);

/// How long clients may claim what they had before a restart, and how long all others wait then.
const GRACE_SECONDS: u16 = 15;
const NFS_THREADS: u16 = 16;
const ISCSI_PORT: u16 = 3260;
const NVME_PORT: u16 = 4420;

impl Serving {
    /// # Errors
    /// `Unsupported` names what this machine lacks for a wire.
    pub(super) fn open(spec: &ServiceSpec) -> Result<Serving> {
        if spec.wires.is_empty() {
            return Ok(Serving(None));
        }
        let wants = |wire| spec.wires.contains(&wire);
        let settings = Settings {
            portals: spec.portals.clone(),
            state: spec.state.join("access"),
            nfs: wants(Wire::Nfs).then(|| NfsSettings {
                root: spec.state.join("exports"),
                threads: NFS_THREADS,
                grace_seconds: GRACE_SECONDS,
            }),
            iscsi: wants(Wire::Iscsi).then(|| IscsiSettings {
                target: format!("iqn.2026-01.io.leister:{}", host_name()),
                port: ISCSI_PORT,
                chap: None,
                accounts: std::collections::BTreeMap::new(),
            }),
            nvme: wants(Wire::Nvme).then(|| NvmeSettings {
                base: format!("nqn.2026-01.io.leister:{}", host_name()),
                port: NVME_PORT,
            }),
        };
        Ok(Serving(Some(Access::open(&settings)?)))
    }

    pub(super) fn serves_any(&self) -> bool {
        self.0.is_some()
    }

    /// Serves the volume to all that its record permits, and says how one of them reaches it.
    pub(super) fn serve(&self, state: &VolumeState, node: Option<&NodeName>) -> Result<Route> {
        let absent = || FilerError::Unsupported("this filer serves no wire".to_owned());
        let granted = self.0.as_ref().ok_or_else(absent)?.serve(&offered(state)?)?.into_state();
        let own = granted.into_iter().find(|granted| Some(&granted.node) == node);
        own.map(|granted| granted.route).ok_or_else(|| {
            FilerError::NotFound(format!("volume `{}` was served, and not to this node", state.handle))
        })
    }

    /// Serves the volume to those whom `state` permits and to nobody else. What nobody can reach is left alone.
    pub(super) fn fence(&self, state: &VolumeState) -> Result<()> {
        let Some(access) = &self.0 else { return Ok(()) };
        if state.permits.is_empty() && !access.list()?.contains_key(&name(&state.handle)?) {
            return Ok(());
        }
        access.serve(&offered(state)?).map(drop)
    }

    /// Lets go of the volume's data.
    pub(super) fn withdraw(&self, handle: &str) -> Result<()> {
        match &self.0 {
            Some(access) => access.withdraw(&name(handle)?).map(drop),
            None => Ok(()),
        }
    }

    pub(super) fn grown(&self, handle: &str, size: Bytes) -> Result<()> {
        let Some(access) = &self.0 else { return Ok(()) };
        match access.grown(&name(handle)?, size) {
            // Whoever reaches it next sees the new size anyway.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// Every volume that the kernel may know of.
    pub(super) fn list(&self) -> Result<BTreeSet<String>> {
        let Some(access) = &self.0 else { return Ok(BTreeSet::new()) };
        Ok(access.list()?.into_keys().map(String::from).collect())
    }

    /// What every volume needs to be served.
    pub(super) fn prepare(&self) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), Access::prepare)
    }

    /// Lets clients in.
    pub(super) fn answer(&self) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), Access::answer)
    }
}

fn offered(state: &VolumeState) -> Result<Offered> {
    let text = state.labels.get(WIRE_LABEL).map(String::as_str).unwrap_or_default();
    let wire: Wire = text.parse().map_err(|e| {
        FilerError::Unsupported(format!("volume `{}` was made without a wire: {e}", state.handle))
    })?;
    Ok(Offered {
        handle: name(&state.handle)?,
        protocol: match wire {
            Wire::Nfs => Protocol::Nfs,
            Wire::Iscsi => Protocol::Iscsi,
            Wire::Nvme => Protocol::Nvme,
        },
        content: match &state.served {
            Served::Directory { path, .. } => Content::Directory(path.clone()),
            Served::Image { path } => Content::Image(path.clone()),
            Served::Device { path } => Content::Device(path.clone()),
        },
        size: state.size,
        permits: state.permits.clone(),
    })
}

fn name(handle: &str) -> Result<Handle> {
    Handle::new(handle).map_err(|e| FilerError::Invalid(e.to_string()))
}

/// A part of a qualified name: lower case, and only what may stand there.
fn host_name() -> String {
    let system = rustix::system::uname();
    let legal = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c.to_ascii_lowercase() } else { '-' };
    system.nodename().to_string_lossy().chars().map(legal).take(100).collect()
}
