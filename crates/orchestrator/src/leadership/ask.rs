//! What an instance that follows has the leader do, and how that is written into a letter.

use driver::config::BackendFile;
use driver::{ErrorKind, Outcome, Retry};
use model::{BackendName, Class, ClassName, NodeIdentity, NodeName, VolumeId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backend::BackendOrigin;
use crate::orchestrator::Orchestrator;
use crate::request::{ImportRequest, Request};
use crate::{Error, Result};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    Work(Request),
    CreateClass(Class),
    DeleteClass(ClassName),
    CreateBackend { name: BackendName, config: Value },
    DeleteBackend(BackendName),
    RegisterNode(NodeIdentity),
    DeleteNode(NodeName),
    Observe(VolumeId),
    PreviewImport(ImportRequest),
    Orphans(Option<BackendName>),
    Backends,
    Doctor,
}

/// The answer, and the revision that shows what was done.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) revision: u64,
    pub(super) result: Result<Value, Refused>,
}

/// An error on its way between instances.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refused {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    retry: Retry,
}

impl Ask {
    /// Whether doing it again does no harm when nobody knows if it has been done.
    pub(crate) fn is_repeatable(&self) -> bool {
        match self {
            Ask::Work(request) => request.is_repeatable(),
            Ask::DeleteClass(_) | Ask::DeleteBackend(_) | Ask::DeleteNode(_) => false,
            Ask::CreateClass(_)
            | Ask::CreateBackend { .. }
            | Ask::RegisterNode(_)
            | Ask::Observe(_)
            | Ask::PreviewImport(_)
            | Ask::Orphans(_)
            | Ask::Backends
            | Ask::Doctor => true,
        }
    }

    /// Does it here, where it is led.
    pub(super) async fn perform(self, orchestrator: &Orchestrator) -> Result<Value> {
        match self {
            Ask::Work(request) => value(orchestrator.run(request).await?),
            Ask::CreateClass(class) => value(orchestrator.create_class_here(class).await?),
            Ask::DeleteClass(name) => value(orchestrator.delete_class_here(&name).await?),
            Ask::CreateBackend { name, config } => {
                let file = BackendFile::parse(&config.to_string(), name.as_str())
                    .map_err(|e| Error::invalid(e.to_string()))?;
                value(orchestrator.create_backend_here(file, BackendOrigin::Stored).await?)
            }
            Ask::DeleteBackend(name) => value(orchestrator.delete_backend_here(&name).await?),
            Ask::RegisterNode(identity) => value(orchestrator.register_node_here(identity).await?),
            Ask::DeleteNode(name) => value(orchestrator.delete_node_here(&name).await?),
            Ask::Observe(volume) => value(orchestrator.observe_here(&volume).await?),
            Ask::PreviewImport(request) => value(orchestrator.inner().importable(&request).await?),
            Ask::Orphans(backend) => value(orchestrator.orphans_here(backend.as_ref()).await?),
            Ask::Backends => value(orchestrator.backends_here()),
            Ask::Doctor => value(orchestrator.doctor_here().await),
        }
    }
}

impl Request {
    /// Whether doing it again does no harm when nobody knows if it has been done: what takes something away could take
    /// what has come since.
    pub(crate) fn is_repeatable(&self) -> bool {
        match self {
            Request::Create(_)
            | Request::Import(_)
            | Request::Adopt { .. }
            | Request::Grow { .. }
            | Request::Modify { .. }
            | Request::Take { .. }
            | Request::TakeGroup { .. }
            | Request::Find { .. }
            | Request::Unpublish { .. }
            | Request::MarkStaged { .. } => true,
            Request::Publish { force, .. } => !force,
            Request::Delete { .. }
            | Request::Forget { .. }
            | Request::DeleteSnapshot { .. }
            | Request::DeleteGroup { .. }
            | Request::Restore { .. }
            | Request::Fence { .. }
            | Request::Reconcile { .. } => false,
        }
    }
}

/// For what was begun by somebody who did not say how it ended.
pub(super) fn unknown() -> Error {
    let message = "the instance that leads has changed meanwhile; whether this was done is not known";
    Error::new(ErrorKind::Unreachable, message).hint("look, and ask again if it was not")
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        let mut bare = error.clone();
        bare.hint = None;
        Refused { kind: error.kind, message: bare.sentence(), hint: error.hint, retry: error.retry }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        let error = Error::new(refused.kind, refused.message).retry(refused.retry);
        match refused.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

fn value(done: impl Serialize) -> Result<Value> {
    serde_json::to_value(done)
        .map_err(|e| Error::new(ErrorKind::Internal, "an answer cannot be written as JSON").because(e))
}

/// As [`Outcome`], which does not know how it is written.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Changed<T> {
    pub(crate) is_changed: bool,
    pub(crate) value: T,
}

impl<T> From<Outcome<T>> for Changed<T> {
    fn from(outcome: Outcome<T>) -> Changed<T> {
        let is_changed = matches!(outcome, Outcome::Changed(_));
        Changed { is_changed, value: outcome.into_inner() }
    }
}

impl<T> From<Changed<T>> for Outcome<T> {
    fn from(changed: Changed<T>) -> Outcome<T> {
        if changed.is_changed { Outcome::Changed(changed.value) } else { Outcome::Unchanged(changed.value) }
    }
}
