//! Connections that only read.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{explain, schema, unavailable};
use crate::StoreError;

/// Reads that run at the same time; more wait for one another, never for a writer.
const READERS: usize = 4;

/// A few connections, opened when first needed.
#[derive(Debug)]
pub(super) struct Readers {
    path: Arc<PathBuf>,
    turns: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Readers {
        Readers {
            path: Arc::new(path.to_owned()),
            turns: Arc::new(Semaphore::new(READERS)),
            idle: Arc::default(),
        }
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|closed| unavailable(operation, closed))?;
        let (path, idle) = (Arc::clone(&self.path), Arc::clone(&self.idle));
        let task = tokio::task::spawn_blocking(move || {
            // The turn ends with the query, not with the caller's patience.
            let _turn = turn;
            let spare = lock(&idle).pop();
            let read = || {
                let connection = spare.map_or_else(|| schema::open_reader(&path), Ok)?;
                let found = query(&connection)?;
                lock(&idle).push(connection);
                Ok(found)
            };
            read().map_err(|error: rusqlite::Error| explain(&path, operation, error))
        });
        task.await.map_err(|error| unavailable(operation, error))?
    }

    pub(super) fn close(&self) {
        lock(&self.idle).clear();
    }
}

fn lock(idle: &Mutex<Vec<Connection>>) -> std::sync::MutexGuard<'_, Vec<Connection>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
