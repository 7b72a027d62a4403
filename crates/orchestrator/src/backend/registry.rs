use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use model::BackendName;

use super::Backend;
use crate::{Error, Result};

/// All backends, by name; reading never waits.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    backends: ArcSwap<BTreeMap<BackendName, Arc<Backend>>>,
}

impl Registry {
    pub(crate) fn all(&self) -> Arc<BTreeMap<BackendName, Arc<Backend>>> {
        self.backends.load_full()
    }

    pub(crate) fn find(&self, name: &BackendName) -> Option<Arc<Backend>> {
        self.backends.load().get(name).cloned()
    }

    /// # Errors
    /// `NotFound` names the nearest.
    pub(crate) fn backend(&self, name: &BackendName) -> Result<Arc<Backend>> {
        self.find(name).ok_or_else(|| {
            let error = Error::not_found("backend", name);
            match model::nearest(name.as_str(), self.backends.load().keys().map(BackendName::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("create it with `leister create backend -f FILE`"),
            }
        })
    }

    pub(crate) fn put(&self, backend: Arc<Backend>) {
        self.backends.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.insert(backend.name.clone(), backend.clone());
            all
        });
    }

    /// Lets go of all: who comes to lead opens them.
    pub(crate) fn clear(&self) {
        self.backends.store(Arc::default());
    }

    pub(crate) fn remove(&self, name: &BackendName) {
        self.backends.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.remove(name);
            all
        });
    }
}
