//! What the node's hands could not do, as an error for its user; and how loudly it is logged.

use host::HostError;
use model::VolumeId;
use orchestrator::{Error, ErrorKind};

/// The user's error of what could not be done to a volume.
pub fn on_node(doing: &str, volume: &VolumeId, error: HostError) -> Error {
    let kind = match &error {
        HostError::Invalid { .. } => ErrorKind::Invalid,
        HostError::Missing { .. } => ErrorKind::NotFound,
        HostError::Conflict { .. } | HostError::Size { .. } | HostError::Refused { .. } => {
            ErrorKind::Conflict
        }
        HostError::InUse { .. } | HostError::Busy { .. } => ErrorKind::InUse,
        HostError::Unsupported { .. } => ErrorKind::Unsupported,
        HostError::Denied { .. } => ErrorKind::Denied,
        HostError::Unanswered { .. } | HostError::Unreachable { .. } => ErrorKind::Unreachable,
        HostError::NotAttached(_) | HostError::Tool(_) | HostError::System { .. } => ErrorKind::Internal,
    };
    Error::new(kind, format!("could not {doing} volume `{volume}` on this node")).because(error)
}

/// Logs at a level that is known only now.
#[macro_export]
macro_rules! log {
    ($level:expr, $($rest:tt)+) => {
        match $level {
            tracing::Level::WARN | tracing::Level::ERROR => tracing::warn!($($rest)+),
            tracing::Level::INFO => tracing::info!($($rest)+),
            _ => tracing::debug!($($rest)+),
        }
    };
}
