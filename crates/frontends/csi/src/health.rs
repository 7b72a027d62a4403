//! What is wrong with volumes and their storages.

use std::collections::BTreeMap;

use model::BackendName;
use orchestrator::{BackendHealth, BackendView, VolumeRecord, VolumeStatus};

use crate::wire::node_get_storage_health_response::StorageBackendHealth;
use crate::wire::volume_health::VolumeHealthEntry;
use crate::wire::{StorageHealthErrorType, VolumeHealth, VolumeHealthErrorType};

/// Backends that do not answer, with the reason.
pub(crate) struct Outages(BTreeMap<BackendName, String>);

impl Outages {
    pub(crate) fn of(backends: &[BackendView]) -> Outages {
        let away = backends.iter().filter_map(|backend| {
            let reason = match &backend.health {
                BackendHealth::Online => return None,
                BackendHealth::Opening => "it is being opened".to_owned(),
                BackendHealth::Unreachable { reason, .. } | BackendHealth::Failed { reason } => {
                    reason.clone()
                }
            };
            Some((backend.name.clone(), reason))
        });
        Outages(away.collect())
    }

    /// An empty list where nothing is wrong.
    pub(crate) fn volume(&self, record: &VolumeRecord) -> VolumeHealth {
        let mut entries = Vec::new();
        let mut add = |status: VolumeHealthErrorType, reason: &str, message: String| {
            let status = status.into();
            entries.push(VolumeHealthEntry { status, reason: reason.to_owned(), message });
        };
        if record.status() == VolumeStatus::Missing {
            let message = format!("backend `{}` has no `{}` any more", record.backend, record.handle);
            add(VolumeHealthErrorType::DataLoss, "Missing", message);
        }
        if let Some(reason) = self.0.get(&record.backend) {
            let message = format!("backend `{}` does not answer: {reason}", record.backend);
            add(VolumeHealthErrorType::Inaccessible, "BackendUnreachable", message);
        }
        if let Some(trouble) = &record.trouble {
            add(VolumeHealthErrorType::Degraded, "OperationFailed", trouble.clone());
        }
        VolumeHealth { volume_id: record.id.to_string(), health_statuses: entries }
    }

    pub(crate) fn storages(self) -> Vec<StorageBackendHealth> {
        let entries: Vec<String> =
            self.0.into_iter().map(|(name, reason)| format!("backend `{name}`: {reason}")).collect();
        if entries.is_empty() {
            return Vec::new();
        }
        // One entry a condition: the protocol forbids two that differ in their message alone.
        vec![StorageBackendHealth {
            status: StorageHealthErrorType::StorageUnreachable.into(),
            reason: "BackendUnreachable".to_owned(),
            message: entries.join("; "),
            volume_capability: None,
        }]
    }
}
