//! What an object's `status` says.

use jiff::Timestamp;
use model::BackendName;
use orchestrator::BackendView;
use serde_json::{Value, json};

use super::declaration::Declaration;
use super::definitions::Kind;

/// What came of an object.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    /// The backend that it defines, or has defined; nobody else does.
    pub(crate) backend: Option<&'a BackendName>,
    pub(crate) view: Option<&'a BackendView>,
    /// On that backend, whether it is open or not.
    pub(crate) volumes: usize,
    /// Why it is not as the object says.
    pub(crate) problem: Option<String>,
}

/// The space of pools changes all the time; it alone is no reason to write at once.
pub(crate) const POOLS: &str = "pools";
/// While there are some, the policy of [`super::DEFINITION`] lets nobody delete the object.
const VOLUMES: &str = "volumes";

impl Outcome<'_> {
    pub(crate) fn status(&self, declaration: &Declaration) -> Value {
        match declaration.kind {
            Kind::Backend => self.of_backend(declaration),
            Kind::Trident => self.of_trident(declaration),
        }
    }

    fn of_backend(&self, declaration: &Declaration) -> Value {
        let (ready, reason, message) = self.ready();
        let pools = self.view.into_iter().flat_map(|view| &view.pools).map(|pool| {
            let capacity = &pool.capacity;
            json!({
                "name": pool.name, "total": capacity.total.get(), "used": capacity.used.get(),
                "provisioned": capacity.provisioned.get(), "free": capacity.free_thin.get(),
            })
        });
        json!({
            "observedGeneration": declaration.generation,
            "backend": self.backend,
            "health": self.view.map_or(if self.problem.is_some() { "refused" } else { "opening" }, |v| v.health.as_str()),
            "message": message,
            (VOLUMES): self.volumes,
            (POOLS): pools.collect::<Vec<_>>(),
            "conditions": [readiness(declaration, ready, reason, &message)],
        })
    }

    /// In Trident's words.
    fn of_trident(&self, declaration: &Declaration) -> Value {
        let (ready, _, message) = self.ready();
        json!({
            "phase": if self.view.is_some() { "Bound" } else { "" },
            "message": message,
            "backendInfo": { "backendName": self.backend, "backendUUID": declaration.uid },
            "deletionPolicy": "delete",
            (VOLUMES): self.volumes,
            "lastOperationStatus": if ready { "Success" } else { "Failed" },
        })
    }

    fn ready(&self) -> (bool, &'static str, String) {
        match (&self.problem, self.view) {
            (Some(problem), None) => (false, "Refused", problem.clone()),
            (Some(problem), Some(_)) => {
                (false, "Refused", format!("{problem}. The backend goes on as it was before"))
            }
            (None, None) => (false, "Opening", "it is about to be opened".to_owned()),
            (None, Some(view)) => {
                let (ready, reason) = match view.health.as_str() {
                    "online" => (true, "Online"),
                    "unreachable" => (false, "Unreachable"),
                    "failed" => (false, "Failed"),
                    _ => (false, "Opening"),
                };
                let message = view.health.reason().unwrap_or_default().to_owned();
                (ready, reason, message)
            }
        }
    }
}

/// The condition that `kubectl wait` looks at.
fn readiness(declaration: &Declaration, ready: bool, reason: &str, message: &str) -> Value {
    let status = if ready { "True" } else { "False" };
    let before = &declaration.status["conditions"][0];
    let since = before["lastTransitionTime"].as_str().filter(|_| before["status"] == status);
    let since = since.map_or_else(|| format!("{:.0}", Timestamp::now()), str::to_owned);
    json!({
        "type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
        "observedGeneration": declaration.generation,
    })
}
