//! What the tests of one executable share.

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use anyhow::Result;

/// Started by the first test that asks for it, ended when the last one has let go of it.
pub struct Shared<T>(Mutex<Weak<T>>);

/// Who needs the programs undisturbed is quiet; who ends some of them is alone.
#[derive(Debug, Default)]
pub struct Peace(RwLock<()>);

impl<T> Shared<T> {
    #[allow(clippy::new_without_default, reason = "it stands in a static")]
    pub const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// # Errors
    /// It does not start.
    pub fn get(&self, start: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        // A test that panicked here left none; the next one starts its own.
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = shared.upgrade() {
            return Ok(there);
        }
        let started = Arc::new(start()?);
        *shared = Arc::downgrade(&started);
        Ok(started)
    }
}

impl Peace {
    pub fn quiet(&self) -> RwLockReadGuard<'_, ()> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
