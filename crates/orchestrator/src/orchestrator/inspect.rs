//! The doctor: compares what is with what shall be, and says what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{BackendName, Capacity, NodeName, Pool, VolumeState};

use super::Orchestrator;
use crate::admission::Queue;
use crate::backend::Backend;
use crate::doctor::{Finding, Inspect, Severity};
use crate::leadership::Ask;
use crate::record::{VolumeRecord, VolumeStatus};
use crate::{Error, Result};

impl Orchestrator {
    /// Volumes that carry our tag and have no record.
    pub async fn orphans(&self, backend: Option<&BackendName>) -> Result<Vec<(BackendName, VolumeState)>> {
        let here = || self.orphans_here(backend);
        self.led(Ask::Orphans(backend.cloned()), here).await
    }

    pub(crate) async fn orphans_here(
        &self,
        backend: Option<&BackendName>,
    ) -> Result<Vec<(BackendName, VolumeState)>> {
        let backends = match backend {
            Some(name) => vec![self.inner.backends.backend(name)?],
            None => self.inner.backends.all().values().cloned().collect(),
        };
        let mut orphans = Vec::new();
        for backend in backends {
            let listed = self.listed(&backend).await?;
            let catalogue = self.catalogue();
            for seen in listed {
                if catalogue.volume_by_handle(&backend.name, &seen.handle).is_none() {
                    orphans.push((backend.name.clone(), seen));
                }
            }
        }
        Ok(orphans)
    }

    /// Everything that is not as it should be; empty when all is well. Changes nothing.
    ///
    /// # Behavior
    /// The backends and records are examined by the instance that leads; what only this machine can see, here.
    pub async fn doctor(&self) -> Vec<Finding> {
        if self.inner.writer.leads() || !self.inner.writer.is_shared() {
            return self.doctor_here().await;
        }
        let examined = self.led(Ask::Doctor, || async { Ok(self.doctor_here().await) });
        let mut findings = match tokio::time::timeout(PATIENCE, examined).await {
            Ok(Ok(findings)) => findings,
            Ok(Err(error)) => vec![unexamined(error.sentence())],
            Err(_) => vec![unexamined("the instance that leads does not answer".to_owned())],
        };
        if let Err(reason) = self.is_ready() {
            findings.push(finding(Severity::Warning, "this instance".into(), reason, "wait, or see the log"));
        }
        if !self.inner.writer.leads() {
            for inspector in self.inner.inspectors.load().iter() {
                findings.extend(inspector.inspect(self).await);
            }
        }
        sort(&mut findings);
        // What both see of the records is told once.
        findings.dedup();
        findings
    }

    pub(crate) async fn doctor_here(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Err(reason) = self.is_ready() {
            findings.push(finding(Severity::Warning, "this instance".into(), reason, "wait, or see the log"));
        }
        for backend in self.inner.backends.all().values() {
            findings.extend(self.examine_backend(backend).await);
        }
        let catalogue = self.catalogue();
        for record in catalogue.volumes() {
            findings.extend(examine_volume(record, &self.inner.backends.all()));
        }
        for snapshot in catalogue.snapshots().filter(|snapshot| snapshot.is_unfinished()) {
            findings.push(finding(
                Severity::Warning,
                format!("snapshot {} of volume {}", snapshot.name, snapshot.volume),
                format!("it is still {}", snapshot.status().as_str()),
                "it is tried again by itself; see `leister get operations`",
            ));
        }
        for inspector in self.inner.inspectors.load().iter() {
            findings.extend(inspector.inspect(self).await);
        }
        sort(&mut findings);
        findings
    }

    /// Something else that looks when the doctor is asked.
    pub fn add_inspector(&self, inspector: Arc<dyn Inspect>) {
        self.inner.inspectors.rcu(|all| {
            let mut all = Vec::clone(all);
            all.push(inspector.clone());
            all
        });
    }

    async fn listed(&self, backend: &Backend) -> Result<Vec<VolumeState>> {
        let driver = backend.driver(self.inner.settings.periods.opening).await?;
        backend.call(Queue::Read, "list volumes", driver.list()).await.map_err(Error::from)
    }

    async fn examine_backend(&self, backend: &Backend) -> Vec<Finding> {
        let subject = || format!("backend {}", backend.name);
        let before = self.catalogue();
        let listed = match self.listed(backend).await {
            Ok(listed) => listed,
            Err(error) => {
                let advice = "check the array and the network; nothing is lost, work goes on when it answers";
                return vec![finding(Severity::Error, subject(), error.sentence(), advice)];
            }
        };
        let mut findings = examine_pools(backend);
        let mut there = BTreeSet::new();
        for seen in &listed {
            there.insert(&seen.handle);
            match before.volume_by_handle(&backend.name, &seen.handle) {
                // Other hosts have made it; it gets its record here when it is asked for.
                None if self.inner.own().is_some() => {}
                None if self.catalogue().volume_by_handle(&backend.name, &seen.handle).is_none() => {
                    let name = seen.volume.as_ref().map_or(seen.handle.as_str(), |volume| volume.as_str());
                    findings.push(finding(
                        Severity::Warning,
                        format!("volume {name}"),
                        format!("`{}` on backend `{}` has our tag but no record", seen.handle, backend.name),
                        &format!("leister adopt {} {name}", backend.name),
                    ));
                }
                None => {}
                Some(record) => findings.extend(examine_permits(&record, seen, self.inner.own())),
            }
        }
        let on_it = before.volumes().filter(|record| record.backend == backend.name);
        let is_incident = |record: &&Arc<VolumeRecord>| self.inner.own().is_none() || record.is_held();
        for record in
            on_it.filter(is_incident).filter(|record| record.settled && !there.contains(&record.handle))
        {
            // Deleted in the meantime is no finding; missing ones are reported from their record.
            if self.catalogue().volume(&record.id).is_some_and(|now| now.status() == VolumeStatus::Ready) {
                findings.push(missing(record));
            }
        }
        findings
    }
}

/// Thin volumes fail to write when their pool is full: that is said before.
fn examine_pools(backend: &Backend) -> Vec<Finding> {
    let nearly_full = |pool: &&Pool| pool.capacity.used.get() / 9 >= pool.capacity.total.get() / 10;
    let pools = backend.pools();
    let full = pools.iter().filter(|pool| !pool.capacity.total.is_zero()).filter(nearly_full);
    full.map(|pool| {
        let Capacity { used, total, .. } = pool.capacity;
        let problem = format!("{used} of {total} are used; when it is full, writes to thin volumes fail");
        let subject = format!("pool {}/{}", pool.backend, pool.name);
        finding(Severity::Warning, subject, problem, "delete volumes or snapshots, or add space")
    })
    .collect()
}

fn examine_permits(record: &VolumeRecord, seen: &VolumeState, own: Option<&NodeName>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if record.status() != VolumeStatus::Ready {
        return findings;
    }
    let subject = || format!("volume {}", record.id);
    for node in record.publications().filter(|node| !seen.permitted.contains(*node)) {
        let problem = format!("node `{node}` uses it but is not permitted on the backend");
        findings.push(finding(
            Severity::Error,
            subject(),
            problem,
            "it is permitted again within the drift period",
        ));
    }
    for (node, since) in &record.fenced {
        let problem =
            format!("it was taken from node `{node}` at {since:.0}, which has not let go of it yet");
        let advice = "end the containers there that use it; while leister runs there it unmounts it itself";
        findings.push(finding(Severity::Warning, subject(), problem, advice));
    }
    let unpublished = seen.permitted.iter().filter(|node| !record.published.contains_key(*node));
    for node in unpublished.filter(|node| own.is_none_or(|own| own == *node)) {
        let problem = format!("node `{node}` is permitted on the backend but does not use it");
        findings.push(finding(
            Severity::Note,
            subject(),
            problem,
            "the permit is taken after the grace period",
        ));
    }
    findings
}

fn examine_volume(record: &VolumeRecord, backends: &BTreeMap<BackendName, Arc<Backend>>) -> Option<Finding> {
    let subject = format!("volume {}", record.id);
    if !backends.contains_key(&record.backend) {
        let problem = format!("its backend `{}` does not exist", record.backend);
        let advice = format!("create the backend again, or `leister forget volume {}`", record.id);
        return Some(finding(Severity::Error, subject, problem, &advice));
    }
    match record.status() {
        VolumeStatus::Ready => None,
        VolumeStatus::Missing => Some(missing(record)),
        status => {
            let trouble = record.trouble.as_deref().unwrap_or("no reason is known yet");
            let problem = format!("it is still {}: {trouble}", status.as_str());
            Some(finding(
                Severity::Warning,
                subject,
                problem,
                "it is tried again by itself; see `leister get operations`",
            ))
        }
    }
}

/// How long the doctor waits for the instance that leads.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

fn unexamined(problem: String) -> Finding {
    let advice = "nothing is lost; ask again when an instance leads";
    finding(Severity::Error, "backends and records".to_owned(), problem, advice)
}

fn sort(findings: &mut [Finding]) {
    findings.sort_by_cached_key(|finding| {
        (std::cmp::Reverse(finding.severity), finding.subject.clone(), finding.problem.clone())
    });
}

fn missing(record: &VolumeRecord) -> Finding {
    finding(
        Severity::Error,
        format!("volume {}", record.id),
        format!("it is missing: backend `{}` has no `{}` any more", record.backend, record.handle),
        &format!("bring it back on the backend, or `leister forget volume {}`", record.id),
    )
}

fn finding(severity: Severity, subject: String, problem: String, advice: &str) -> Finding {
    Finding { severity, subject, problem, advice: advice.to_owned() }
}
