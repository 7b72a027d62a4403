//! Backends that objects of a cluster define: they come, change and go while we run.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use driver::config::BackendFile;
use model::BackendName;

use super::Orchestrator;
use crate::backend::{BackendOrigin, Standing};
use crate::{Error, ErrorKind, Result};

impl Orchestrator {
    /// Sees that a backend is as an object says, such as `Backend leister/gold`.
    ///
    /// # Behavior
    /// A new one opens in the background; its health says how that went. A changed one is opened first, and takes the
    /// place of the former one when it works. Who follows remembers it until it leads.
    ///
    /// # Errors
    /// What the driver says of a changed config: the former one goes on. `Conflict` when something else defines a backend
    /// of this name, or when driver or prefix would change under volumes.
    pub async fn declare_backend(&self, file: BackendFile, object: &str) -> Result<()> {
        let name = file.name().clone();
        let origin = BackendOrigin::Declared(object.to_owned());
        if let Some((_, other)) = self.files().get(&name)
            && *other != origin
        {
            return Err(defined_elsewhere(&name, other));
        }
        let before = self.inner.backends.find(&name).filter(|_| self.inner.writer.leads());
        match before {
            Some(before) if before.origin == origin && before.file.to_value() == file.to_value() => {}
            Some(before) if before.is_open() => {
                self.create_backend_here(file.clone(), origin.clone()).await?;
            }
            // It never worked: whatever it says now is better.
            Some(before) => {
                self.check_change(&before.file, &file, &before.origin, &origin)?;
                self.inner.backends.remove(&name);
                self.add_backend(file, origin);
                return Ok(());
            }
            None => {
                self.add_backend(file, origin);
                return Ok(());
            }
        }
        self.files().insert(name, (file, origin));
        Ok(())
    }

    /// The object is gone. False: it defines no backend.
    ///
    /// # Errors
    /// `InUse` while volumes are on it: it goes on until this process ends.
    pub fn withdraw_backend(&self, name: &BackendName, object: &str) -> Result<bool> {
        let is_its = |origin: &BackendOrigin| matches!(origin, BackendOrigin::Declared(own) if own == object);
        if !self.files().get(name).is_some_and(|(_, origin)| is_its(origin)) {
            return Ok(false);
        }
        self.check_unused(name)?;
        self.files().remove(name);
        if self.inner.writer.leads() {
            self.inner.backends.remove(name);
            // One of this name may be stored, which it had hidden.
            self.open_backends();
        }
        Ok(true)
    }

    pub(super) fn files(&self) -> MutexGuard<'_, BTreeMap<BackendName, Standing>> {
        self.inner.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn defined_elsewhere(name: &BackendName, origin: &BackendOrigin) -> Error {
    let place = origin.place().unwrap_or_else(|| "the records".to_owned());
    Error::new(ErrorKind::Conflict, format!("backend `{name}` is defined in {place}")).hint(origin.way())
}
