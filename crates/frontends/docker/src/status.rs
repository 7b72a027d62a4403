//! Errors on their way to the engine, and what of them an operator has to look at.

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
