//! What is not as it should be, with the way out.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::Orchestrator;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    Note,
    Warning,
    Error,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub severity: Severity,
    /// What it is about, such as `volume db1`.
    pub subject: String,
    pub problem: String,
    /// What to do, often a command.
    pub advice: String,
}

/// Something that can look for itself, such as a node's host. It need not keep the orchestrator, which keeps it.
#[async_trait]
pub trait Inspect: Send + Sync + 'static {
    async fn inspect(&self, orchestrator: &Orchestrator) -> Vec<Finding>;
}
