//! Compares each backend with the records: one list call a backend and period, however many volumes.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use model::{BackendName, Handle, NodeName, VolumeId, VolumeState};
use tokio::time::Instant;

use crate::admission::Queue;
use crate::backend::{Backend, BackendHealth};
use crate::catalogue::Catalogue;
use crate::orchestrator::Orchestrator;
use crate::record::{VolumeRecord, VolumeStatus};
use crate::request::Request;

/// Permits without publication, since when.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    since: Mutex<HashMap<(BackendName, Handle, NodeName), Instant>>,
}

/// Repairs that may run at once.
const AT_ONCE: usize = 16;

pub(super) async fn round(orchestrator: &Orchestrator) {
    let mut rounds = tokio::task::JoinSet::new();
    for backend in orchestrator.inner().backends.all().values() {
        if matches!(*backend.health(), BackendHealth::Online) {
            let (orchestrator, backend) = (orchestrator.clone(), backend.clone());
            rounds.spawn(async move { compare(&orchestrator, &backend).await });
        }
    }
    rounds.join_all().await;
}

async fn compare(orchestrator: &Orchestrator, backend: &Arc<Backend>) {
    // Records first: what is made while the backend answers is then not taken for missing.
    let catalogue = orchestrator.catalogue();
    let listed = async {
        let driver = backend.driver(orchestrator.settings().periods.opening).await?;
        let listed = backend.call(Queue::Read, "list volumes", driver.list()).await?;
        Ok::<_, crate::Error>(listed)
    };
    let listed = match listed.await {
        Ok(listed) => listed,
        Err(error) => {
            tracing::debug!(backend = %backend.name, error = error.sentence(), "cannot compare");
            return;
        }
    };
    let strays = orchestrator.inner().strays.ripe(orchestrator, backend, &catalogue, &listed);
    let repairs = repairs(&catalogue, &backend.name, &listed, strays);
    let mut running = tokio::task::JoinSet::new();
    for request in repairs {
        if running.len() >= AT_ONCE {
            running.join_next().await;
        }
        // A volume that is busy is looked at again in the next period.
        if let Ok(ticket) = orchestrator.submit(request) {
            running.spawn(ticket.wait());
        }
    }
    running.join_all().await;
}

/// What has to be mended. Pure.
fn repairs(
    catalogue: &Catalogue,
    backend: &BackendName,
    listed: &[VolumeState],
    mut strays: HashMap<VolumeId, Vec<NodeName>>,
) -> Vec<Request> {
    let seen: HashMap<&Handle, &VolumeState> = listed.iter().map(|seen| (&seen.handle, seen)).collect();
    let mut repairs = Vec::new();
    for record in catalogue.volumes().filter(|record| record.backend == *backend) {
        let strays = strays.remove(&record.id).unwrap_or_default();
        if !strays.is_empty() || differs(record, seen.get(&record.handle).copied()) {
            repairs.push(Request::Reconcile { volume: record.id.clone(), strays });
        }
    }
    repairs
}

fn differs(record: &VolumeRecord, seen: Option<&VolumeState>) -> bool {
    match (record.status(), seen) {
        (VolumeStatus::Ready, None) | (VolumeStatus::Missing, Some(_)) => true,
        (VolumeStatus::Ready, Some(seen)) => {
            seen.size < record.spec.size || record.publications().any(|node| !seen.permitted.contains(node))
        }
        _ => false,
    }
}

impl Strays {
    /// Permits that have had no publication for the whole grace period.
    fn ripe(
        &self,
        orchestrator: &Orchestrator,
        backend: &Backend,
        catalogue: &Catalogue,
        listed: &[VolumeState],
    ) -> HashMap<VolumeId, Vec<NodeName>> {
        let grace = orchestrator.settings().periods.grace;
        let now = Instant::now();
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let mut current = HashSet::new();
        let mut ripe: HashMap<VolumeId, Vec<NodeName>> = HashMap::new();
        for seen in listed {
            let Some(record) = catalogue.volume_by_handle(&backend.name, &seen.handle) else { continue };
            for node in seen.permitted.iter().filter(|node| !record.published.contains_key(*node)) {
                let key = (backend.name.clone(), seen.handle.clone(), node.clone());
                if now.duration_since(*since.entry(key.clone()).or_insert(now)) >= grace {
                    ripe.entry(record.id.clone()).or_default().push(node.clone());
                }
                current.insert(key);
            }
        }
        since.retain(|key, _| key.0 != backend.name || current.contains(key));
        ripe
    }
}
