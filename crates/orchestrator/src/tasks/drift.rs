//! Compares each backend with the records: one list call a backend and period, however many volumes.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use model::{BackendName, Handle, NodeName, VolumeId, VolumeState};
use tokio::time::Instant;

use crate::admission::Queue;
use crate::backend::{Backend, BackendHealth};
use crate::catalogue::Catalogue;
use crate::orchestrator::Orchestrator;
use crate::record::{Goal, VolumeRecord, VolumeStatus};
use crate::request::{Answer, Request};
use crate::volume::next::is_later;

/// Permits without publication, since when.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    since: Mutex<HashMap<(BackendName, Handle, NodeName), Instant>>,
}

/// Repairs that may run at once.
const AT_ONCE: usize = 16;

pub(super) async fn round(orchestrator: &Orchestrator) {
    if !orchestrator.inner().writer.leads() {
        return;
    }
    let mut rounds = tokio::task::JoinSet::new();
    for backend in orchestrator.inner().backends.all().values() {
        if matches!(*backend.health(), BackendHealth::Online) {
            let (orchestrator, backend) = (orchestrator.clone(), backend.clone());
            rounds.spawn(async move { compare(&orchestrator, &backend).await });
        }
    }
    rounds.join_all().await;
    renew(orchestrator).await;
}

/// Permits of nodes whose address or initiator has changed are made again.
async fn renew(orchestrator: &Orchestrator) {
    let catalogue = orchestrator.catalogue();
    for node in catalogue.nodes().filter(|node| node.renewing) {
        let name = &node.identity.name;
        let mut renewals = tokio::task::JoinSet::new();
        let mut are_all_renewed = true;
        for record in catalogue.volumes() {
            let Some(publication) = record.published.get(name).filter(|p| p.goal == Goal::Exist) else {
                continue;
            };
            let (volume, read_only) = (record.id.clone(), publication.read_only);
            match orchestrator.submit(Request::Publish {
                volume,
                node: name.clone(),
                read_only,
                force: false,
                kept: false,
            }) {
                Ok(ticket) => drop(renewals.spawn(ticket.wait())),
                Err(_) => are_all_renewed = false,
            }
            if renewals.len() >= AT_ONCE {
                are_all_renewed &= is_done(renewals.join_next().await);
            }
        }
        while !renewals.is_empty() {
            are_all_renewed &= is_done(renewals.join_next().await);
        }
        if are_all_renewed && let Err(error) = orchestrator.renewed(node).await {
            tracing::debug!(node = %name, error = error.sentence(), "its permits are made once more");
        }
    }
}

fn is_done(renewal: Option<Result<crate::Result<Answer>, tokio::task::JoinError>>) -> bool {
    matches!(renewal, None | Some(Ok(Ok(_))))
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
    let sharing = orchestrator.settings().sharing;
    let repairs = repairs(&catalogue, &backend.name, &listed, strays, sharing);
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
    sharing: bool,
) -> Vec<Request> {
    let seen: HashMap<&Handle, &VolumeState> = listed.iter().map(|seen| (&seen.handle, seen)).collect();
    let mut repairs = Vec::new();
    for record in catalogue.volumes().filter(|record| record.backend == *backend) {
        let strays = strays.remove(&record.id).unwrap_or_default();
        if !strays.is_empty() || differs(record, seen.get(&record.handle).copied(), sharing) {
            repairs.push(Request::Reconcile { volume: record.id.clone(), strays });
        }
    }
    repairs
}

fn differs(record: &VolumeRecord, seen: Option<&VolumeState>, sharing: bool) -> bool {
    match (record.status(), seen) {
        (VolumeStatus::Ready, None) | (VolumeStatus::Missing, Some(_)) => true,
        (VolumeStatus::Ready, Some(seen)) => {
            // Other hosts grow, delete and make anew what this one has a record of.
            let is_changed = sharing && (seen.size != record.spec.size || is_later(record, seen));
            is_changed
                || seen.size < record.spec.size
                || record.publications().any(|node| !seen.permitted.contains(node))
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
            // Permits of other hosts' nodes are theirs.
            let is_ours = |node: &&NodeName| orchestrator.inner().own().is_none_or(|own| own == *node);
            let unpublished = seen.permitted.iter().filter(|node| !record.published.contains_key(*node));
            for node in unpublished.filter(is_ours) {
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
