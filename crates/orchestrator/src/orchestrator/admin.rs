//! Classes, backends and nodes: checked, then stored.

use std::sync::Arc;

use driver::Outcome;
use driver::config::BackendFile;
use jiff::Timestamp;
use model::{BackendName, Class, ClassName, NodeIdentity, NodeName};

use super::Orchestrator;
use super::declared::defined_elsewhere;
use crate::backend::{BackendOrigin, BackendRecord, BackendView};
use crate::catalogue::Edit;
use crate::leadership::{Ask, Changed};
use crate::record::{FORMAT, NodeRecord};
use crate::{Error, ErrorKind, Result};

impl Orchestrator {
    /// # Errors
    /// `Invalid` names the parameter that does not fit.
    pub async fn create_class(&self, class: Class) -> Result<Outcome<Arc<Class>>> {
        let here = || self.create_class_here(class.clone());
        self.led(Ask::CreateClass(class.clone()), here).await.map(Outcome::from)
    }

    pub(crate) async fn create_class_here(&self, class: Class) -> Result<Changed<Arc<Class>>> {
        class.wishes().map_err(|error| Error::invalid(error.to_string()))?;
        if let Some(before) = self.catalogue().class(&class.name)
            && *before == class
        {
            return Ok(Outcome::Unchanged(before).into());
        }
        let class = Arc::new(class);
        self.inner.writer.commit(vec![Edit::PutClass(class.clone())]).await?;
        Ok(Outcome::Changed(class).into())
    }

    /// Volumes of the class stay. False: there was none.
    pub async fn delete_class(&self, name: &ClassName) -> Result<bool> {
        self.led(Ask::DeleteClass(name.clone()), || self.delete_class_here(name)).await
    }

    pub(crate) async fn delete_class_here(&self, name: &ClassName) -> Result<bool> {
        if self.catalogue().class(name).is_none() {
            return Ok(false);
        }
        self.inner.writer.commit(vec![Edit::RemoveClass(name.clone())]).await?;
        Ok(true)
    }

    /// Creates a backend or changes the one of the same name. Opens it first: a config that does not work
    /// replaces none that does.
    ///
    /// # Errors
    /// What the driver says of the config; `Conflict` when driver or prefix would change under volumes.
    pub async fn create_backend(&self, file: BackendFile, origin: BackendOrigin) -> Result<BackendView> {
        let ask = Ask::CreateBackend { name: file.name().clone(), config: file.to_value().clone() };
        self.led(ask, || self.create_backend_here(file.clone(), origin.clone())).await
    }

    pub(crate) async fn create_backend_here(
        &self,
        file: BackendFile,
        origin: BackendOrigin,
    ) -> Result<BackendView> {
        let name = file.name().clone();
        if let Some(before) = self.inner.backends.find(&name) {
            self.check_change(&before.file, &file, &before.origin, &origin)?;
        }
        let backend = self.inner.new_backend(file, origin.clone());
        backend.open(self.inner.families.as_ref()).await?;
        if origin == BackendOrigin::Stored {
            let record =
                BackendRecord { format: FORMAT, name: name.clone(), config: backend.file.to_value().clone() };
            self.inner.writer.commit(vec![Edit::PutBackend(Arc::new(record))]).await?;
        }
        self.inner.backends.put(backend);
        self.backend_here(&name).ok_or_else(|| Error::not_found("backend", name))
    }

    /// Takes a backend from a file up; whoever leads opens it, in the background.
    pub fn add_backend(&self, file: BackendFile, origin: BackendOrigin) {
        self.files().insert(file.name().clone(), (file.clone(), origin.clone()));
        if self.inner.writer.leads() {
            self.open_backend(file, origin);
        }
    }

    /// Opens all that are not open: those of files, and those that are stored.
    pub(crate) fn open_backends(&self) {
        let files = self.files().clone();
        for (file, origin) in files.values() {
            self.open_backend(file.clone(), origin.clone());
        }
        for record in self.catalogue().backends().filter(|record| !files.contains_key(&record.name)) {
            match BackendFile::parse(&record.config.to_string(), record.name.as_str()) {
                Ok(file) => self.open_backend(file, BackendOrigin::Stored),
                Err(error) => {
                    tracing::error!(backend = %record.name, %error, "a stored backend's config cannot be read")
                }
            }
        }
    }

    fn open_backend(&self, file: BackendFile, origin: BackendOrigin) {
        // Who adds it and who takes the lead may come here at once: opened twice it would lock itself out.
        let _turn = self.files();
        if self.inner.backends.find(file.name()).is_some_and(|there| there.origin == origin) {
            return;
        }
        let backend = self.inner.new_backend(file, origin);
        self.inner.backends.put(backend.clone());
        let inner = self.inner.clone();
        tokio::spawn(async move {
            // Its health says why not; the probe tries again.
            let _ = backend.open(inner.families.as_ref()).await;
        });
    }

    /// False: there was none.
    ///
    /// # Errors
    /// `InUse` while volumes are on it; `Invalid` for one that a file defines.
    pub async fn delete_backend(&self, name: &BackendName) -> Result<bool> {
        self.led(Ask::DeleteBackend(name.clone()), || self.delete_backend_here(name)).await
    }

    pub(crate) async fn delete_backend_here(&self, name: &BackendName) -> Result<bool> {
        let Some(backend) = self.inner.backends.find(name) else { return Ok(false) };
        self.check_unused(name)?;
        if let Some(place) = backend.origin.place() {
            let message = format!("backend `{name}` is defined in {place}");
            return Err(Error::invalid(message).hint(backend.origin.way().replace("change", "remove")));
        }
        self.inner.writer.commit(vec![Edit::RemoveBackend(name.clone())]).await?;
        self.inner.backends.remove(name);
        Ok(true)
    }

    pub async fn register_node(&self, identity: NodeIdentity) -> Result<()> {
        // A thousand nodes that start again ask nobody.
        if self.knows(&identity) {
            return Ok(());
        }
        let here = || self.register_node_here(identity.clone());
        self.led(Ask::RegisterNode(identity.clone()), here).await
    }

    pub(crate) async fn register_node_here(&self, identity: NodeIdentity) -> Result<()> {
        if self.knows(&identity) {
            return Ok(());
        }
        let before = self.catalogue().node(&identity.name);
        let reach = |identity: &NodeIdentity| {
            let initiators: Vec<String> = identity.initiators().into_iter().map(str::to_owned).collect();
            (identity.addresses.clone(), initiators, identity.nqn.clone())
        };
        let renewing =
            before.as_ref().is_some_and(|node| node.renewing || reach(&node.identity) != reach(&identity));
        let registered = before.map_or_else(Timestamp::now, |node| node.registered);
        let node = NodeRecord { format: FORMAT, identity, registered, renewing };
        self.inner.writer.commit(vec![Edit::PutNode(Arc::new(node))]).await?;
        if renewing {
            self.inner.opened.notify_one();
        }
        Ok(())
    }

    fn knows(&self, identity: &NodeIdentity) -> bool {
        self.catalogue().node(&identity.name).is_some_and(|node| node.identity == *identity)
    }

    /// All permits of the node carry the identity that this record says.
    pub(crate) async fn renewed(&self, node: &NodeRecord) -> Result<()> {
        if self.catalogue().node(&node.identity.name).as_deref() != Some(node) {
            return Ok(());
        }
        let renewed = NodeRecord { renewing: false, ..node.clone() };
        self.inner.writer.commit(vec![Edit::PutNode(Arc::new(renewed))]).await
    }

    /// False: there was none.
    ///
    /// # Errors
    /// `InUse` while volumes are published to it.
    pub async fn delete_node(&self, name: &NodeName) -> Result<bool> {
        self.led(Ask::DeleteNode(name.clone()), || self.delete_node_here(name)).await
    }

    pub(crate) async fn delete_node_here(&self, name: &NodeName) -> Result<bool> {
        let catalogue = self.catalogue();
        if catalogue.node(name).is_none() {
            return Ok(false);
        }
        let volumes = catalogue.volumes().filter(|record| record.published.contains_key(name)).count();
        if volumes > 0 {
            let message = format!("node `{name}` uses {volumes} volumes");
            return Err(Error::new(ErrorKind::InUse, message).hint("stop what uses them there first"));
        }
        self.inner.writer.commit(vec![Edit::RemoveNode(name.clone())]).await?;
        Ok(true)
    }

    pub(super) fn check_unused(&self, name: &BackendName) -> Result<()> {
        let volumes = self.catalogue().volumes().filter(|record| record.backend == *name).count();
        if volumes == 0 {
            return Ok(());
        }
        let message = format!("backend `{name}` has {volumes} volumes");
        Err(Error::new(ErrorKind::InUse, message)
            .hint("delete or forget them first; `userState: suspended` keeps new ones away"))
    }

    pub(super) fn check_change(
        &self,
        before: &BackendFile,
        now: &BackendFile,
        was: &BackendOrigin,
        origin: &BackendOrigin,
    ) -> Result<()> {
        let name = now.name();
        if was.place().is_some() && was != origin {
            return Err(defined_elsewhere(name, was));
        }
        let in_use = self.catalogue().volumes().any(|record| record.backend == *name);
        if in_use && before.driver_name() != now.driver_name() {
            let message = format!(
                "backend `{name}` has volumes; its storageDriverName cannot change from {} to {}",
                before.driver_name(),
                now.driver_name()
            );
            return Err(
                Error::new(ErrorKind::Conflict, message).hint("give the new backend another backendName")
            );
        }
        if in_use && before.prefix() != now.prefix() {
            let message = format!("backend `{name}` has volumes; its storagePrefix cannot change");
            return Err(
                Error::new(ErrorKind::Conflict, message).hint("give the new backend another backendName")
            );
        }
        Ok(())
    }
}
