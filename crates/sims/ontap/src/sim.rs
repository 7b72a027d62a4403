//! A simulator that runs, and what a test does with it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use serde_json::Value;
use sim_kit::{Call, Calls, Clock, Faults, Server};

use crate::array::{Array, Inner};
use crate::builder::Builder;
use crate::state::State;

/// How often a state that changed is written to its file.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// A running array. Dropping it stops it.
pub struct Sim {
    array: Arc<Array>,
    server: Server,
    file: Option<PathBuf>,
    saving: Option<tokio::task::JoinHandle<()>>,
}

/// The state of a running array in one's hands: calls wait meanwhile.
pub struct Edit<'a>(MutexGuard<'a, Inner>);

impl Sim {
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(array: Arc<Array>, server: Server, file: Option<PathBuf>) -> Self {
        let saving = file.clone().map(|path| tokio::spawn(save_changes(array.clone(), path)));
        Self { array, server, file, saving }
    }

    /// `https://127.0.0.1:PORT`, without `/api`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// `127.0.0.1:PORT`, as it stands in `managementLIF`.
    pub fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// The certificate that clients see, as PEM; none without TLS.
    pub fn certificate(&self) -> Option<&str> {
        self.server.certificate()
    }

    pub fn faults(&self) -> &Faults {
        self.server.faults()
    }

    pub fn calls(&self) -> &Calls {
        self.server.calls()
    }

    pub fn clock(&self) -> &Clock {
        &self.array.clock
    }

    /// Gives an account another password; false when there is none of this name.
    pub fn change_password(&self, user: &str, password: &str) -> bool {
        let mut accounts = self.array.accounts();
        let account = accounts.iter_mut().find(|account| account.user == user);
        account.map(|account| account.password = Some(password.to_owned())).is_some()
    }

    /// A copy of the state as it is now.
    pub fn state(&self) -> State {
        self.array.lock().state.clone()
    }

    /// The state itself, to change it behind everybody's back.
    pub fn edit(&self) -> Edit<'_> {
        Edit(self.array.lock())
    }

    /// Ends a job (or, by its volume, a split) now; false when there is none under way.
    pub fn finish_job(&self, uuid: &str) -> bool {
        self.array.finish_job(uuid)
    }

    /// Ends all jobs and splits now.
    pub fn finish_jobs(&self) {
        self.array.finish_jobs();
    }

    /// Makes a call as the cluster's administrator, past the wire, the faults and the log: what a person does at the
    /// array. `path` has no `/api`.
    pub async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let call = Call {
            method: method.into(),
            path: format!("/api{path}"),
            query: query.into(),
            body: body.into(),
            ..Call::default()
        };
        let reply = self.array.answer_scoped(&call, None).await;
        (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default())
    }

    /// Writes the state to a file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        sim_kit::save(path, &self.state().dump())
    }

    /// Takes the state from a file that [`Sim::save`] wrote; false when there is no such state in it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(&self, path: &Path) -> std::io::Result<bool> {
        let state = sim_kit::load(path)?.as_ref().and_then(State::from_dump);
        let Some(state) = state else { return Ok(false) };
        *self.edit() = state;
        Ok(true)
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if let Some(saving) = &self.saving {
            saving.abort();
        }
        if let Some(path) = &self.file
            && let Err(e) = self.save(path)
        {
            tracing::warn!("the state cannot be written to {}: {e}", path.display());
        }
    }
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl std::ops::Deref for Edit<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0.state
    }
}

impl std::ops::DerefMut for Edit<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.0.generation += 1;
        &mut self.0.state
    }
}

async fn save_changes(array: Arc<Array>, path: PathBuf) {
    let mut saved = 0;
    loop {
        tokio::time::sleep(SAVE_EVERY).await;
        let (state, generation) = {
            let inner = array.lock();
            (inner.state.clone(), inner.generation)
        };
        if generation == saved {
            continue;
        }
        let to = path.clone();
        let written = tokio::task::spawn_blocking(move || sim_kit::save(&to, &state.dump())).await;
        match written {
            Ok(Ok(())) => saved = generation,
            Ok(Err(e)) => tracing::warn!("the state cannot be written to {}: {e}", path.display()),
            Err(e) => tracing::warn!("writing the state ended early: {e}"),
        }
    }
}
