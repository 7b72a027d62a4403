//! Subsystems: one for each node. The array lets a namespace lie in one subsystem at most, so every permit is
//! exclusive by nature.

use driver::{DriverError, ErrorKind, Outcome, Result};
use model::{Handle, NamespaceId, NodeName, NvmeRoute, Permit, Route};

use super::{FORBID, PERMIT, lacking, taken};
use crate::error::{ABSENT, EXISTS};
use crate::layout::{Array, Found, Unit};
use crate::wire::Named;
use crate::wire::namespaces::{MappedTo, Namespace};
use crate::wire::subsystems::{self, Subsystem};

const PORT: u16 = 4420;

impl Array {
    /// The node whose subsystem a namespace lies in.
    pub(crate) fn attached(&self, namespace: &Namespace) -> Option<NodeName> {
        let subsystem = namespace.subsystem_map.as_ref()?.subsystem.as_ref()?;
        Some(self.groups().read(&subsystem.name)?.0)
    }

    pub(crate) async fn connect(
        &self,
        handle: &Handle,
        namespace: &Namespace,
        permit: &Permit,
    ) -> Result<Outcome<Route>> {
        let node = &permit.node.name;
        let Some(nqn) = permit.node.nqn.as_deref() else {
            let hint = "install nvme-cli there, so that it gets one";
            return Err(lacking(node, "NVMe host name", hint));
        };
        if let Some(other) = self.attached(namespace).filter(|other| other != node) {
            return Err(taken(handle, other.as_str()));
        }
        let name = self.groups().name(node, false, PERMIT)?;
        let mut changed = false;
        // What is remembered is looked at again before it is relied on.
        let is_in =
            self.attached(namespace).is_some() && self.attached_now(handle).await?.as_ref() == Some(node);
        if !is_in {
            if !self.sound.is(&name, nqn) {
                changed |= self.subsystem(&name, nqn).await?.1;
                self.sound.note(&name, nqn);
            }
            match subsystems::map(&self.client, &self.svm, &namespace.uuid, &name).await {
                Ok(()) => changed = true,
                Err(error) if error.is(EXISTS) || error.kind() == ErrorKind::Conflict => {
                    match self.attached_now(handle).await? {
                        Some(has) if has == *node => {}
                        Some(other) => return Err(taken(handle, other.as_str())),
                        None => return Err(self.error(PERMIT)(error)),
                    }
                }
                Err(error) => {
                    self.sound.forget(&name);
                    return Err(self.error(PERMIT)(error));
                }
            }
        }
        let (subsystem, repaired) = self.subsystem(&name, nqn).await?;
        let Some(target) = subsystem.target_nqn else {
            let message = format!("subsystem `{name}` has no NQN");
            return Err(DriverError::new(ErrorKind::Internal, PERMIT, message));
        };
        self.known.change(handle, |seen| {
            if let Unit::Namespace(namespace) = &mut seen.unit {
                namespace.subsystem_map = Some(MappedTo { subsystem: Some(Named::new(&name)) });
            }
        });
        let route = Route::Nvme(NvmeRoute {
            subsystem: target,
            portals: self.portals(PORT),
            namespace: NamespaceId::Uuid(namespace.uuid.clone()),
        });
        Ok(if changed || repaired { Outcome::Changed(route) } else { Outcome::Unchanged(route) })
    }

    async fn attached_now(&self, handle: &Handle) -> Result<Option<NodeName>> {
        match self.find_namespace(handle).await.map_err(self.error(PERMIT))? {
            Unit::Namespace(namespace) => Ok(self.attached(&namespace)),
            _ => Ok(None),
        }
    }

    pub(crate) async fn disconnect(&self, found: &Found, node: &NodeName) -> Result<bool> {
        let Unit::Namespace(namespace) = &found.unit else { return Ok(false) };
        if self.attached(namespace).as_ref() != Some(node) {
            return Ok(false);
        }
        let fail = self.error(FORBID);
        let name = self.groups().name(node, false, FORBID)?;
        let Some(subsystem) = subsystems::find(&self.client, &self.svm, &name).await.map_err(&fail)? else {
            return Ok(false);
        };
        match subsystems::unmap(&self.client, &subsystem.uuid, &namespace.uuid).await {
            Err(error) if !error.is(ABSENT) => Err(fail(error)),
            _ => Ok(true),
        }
    }

    /// The node's subsystem, letting in its host and no other; says whether it had to be changed.
    async fn subsystem(&self, name: &str, nqn: &str) -> Result<(Subsystem, bool)> {
        let fail = self.error(PERMIT);
        let find = || subsystems::find(&self.client, &self.svm, name);
        let Some(subsystem) = find().await.map_err(&fail)? else {
            match subsystems::create(&self.client, &self.svm, name, nqn).await {
                Err(error) if !error.is(EXISTS) => return Err(fail(error)),
                _ => {}
            }
            let made = find().await.map_err(&fail)?.ok_or_else(|| {
                let message = format!("subsystem `{name}` is not there after it was made");
                DriverError::new(ErrorKind::Internal, PERMIT, message)
            })?;
            return Ok((made, true));
        };
        let mut changed = false;
        if !subsystem.hosts.iter().any(|host| host.nqn == nqn) {
            subsystems::add_host(&self.client, &subsystem.uuid, nqn).await.map_err(&fail)?;
            changed = true;
        }
        for old in subsystem.hosts.iter().filter(|host| host.nqn != nqn) {
            subsystems::remove_host(&self.client, &subsystem.uuid, &old.nqn).await.map_err(&fail)?;
            changed = true;
        }
        Ok((subsystem, changed))
    }
}
