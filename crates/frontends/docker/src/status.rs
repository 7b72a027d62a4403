//! Errors on their way to the engine, and what of them an operator has to look at.

use host::HostError;
use model::VolumeId;
use orchestrator::{Error, ErrorKind};
use tracing::Level;

/// How loudly a failed call is logged. Its user gets the message in any case.
pub(crate) fn level(error: &Error) -> Level {
    match error.kind {
        // The engine asks every plugin for names it does not know.
        ErrorKind::NotFound => Level::DEBUG,
        // The user's to correct; an unreachable backend has been reported by its health.
        ErrorKind::Invalid
        | ErrorKind::Conflict
        | ErrorKind::Busy
        | ErrorKind::InUse
        | ErrorKind::NoCapacity
        | ErrorKind::Unsupported
        | ErrorKind::Unreachable => Level::INFO,
        ErrorKind::Denied | ErrorKind::Internal => Level::WARN,
    }
}

/// What the node's hands could not do, as the user's error.
pub(crate) fn on_node(doing: &str, volume: &VolumeId, error: HostError) -> Error {
    let kind = match &error {
        HostError::Invalid { .. } => ErrorKind::Invalid,
        HostError::Missing { .. } => ErrorKind::NotFound,
        HostError::Conflict { .. } | HostError::Size { .. } | HostError::Refused { .. } => {
            ErrorKind::Conflict
        }
        HostError::InUse { .. } | HostError::Busy { .. } => ErrorKind::InUse,
        HostError::Unsupported { .. } => ErrorKind::Unsupported,
        HostError::Unanswered { .. } => ErrorKind::Unreachable,
        HostError::NotAttached(_) | HostError::Tool(_) | HostError::System { .. } => ErrorKind::Internal,
    };
    Error::new(kind, format!("could not {doing} volume `{volume}` on this node")).because(error)
}

/// Logs at a level that is known only now.
macro_rules! log {
    ($level:expr, $($rest:tt)+) => {
        match $level {
            tracing::Level::WARN | tracing::Level::ERROR => tracing::warn!($($rest)+),
            tracing::Level::INFO => tracing::info!($($rest)+),
            _ => tracing::debug!($($rest)+),
        }
    };
}
pub(crate) use log;
