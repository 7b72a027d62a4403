//! Errors on their way to the caller, and what of them an operator has to look at.

use orchestrator::{Error, ErrorKind};
use tonic::{Code, Status};
use tracing::Level;

/// What somebody asked for was not done.
pub(crate) fn refused(error: Error) -> Status {
    Status::new(code(error.kind), error.sentence())
}

/// The same, for a call that a backend may not have at all.
pub(crate) fn unsupported(error: Error) -> Status {
    match error.kind {
        ErrorKind::Unsupported => Status::unimplemented(error.sentence()),
        _ => refused(error),
    }
}

/// The same, for volumes that may not be such as can be handled together.
pub(crate) fn apart(error: Error) -> Status {
    match error.kind {
        ErrorKind::Unsupported => Status::failed_precondition(error.sentence()),
        _ => refused(error),
    }
}

pub(crate) const fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid | ErrorKind::Unsupported => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Conflict => Code::AlreadyExists,
        ErrorKind::Busy => Code::Aborted,
        ErrorKind::InUse | ErrorKind::Denied => Code::FailedPrecondition,
        ErrorKind::NoCapacity => Code::ResourceExhausted,
        ErrorKind::Unreachable => Code::Unavailable,
        ErrorKind::Internal => Code::Internal,
    }
}

/// How loudly a failed call is logged. Its caller gets the message in any case, and tries again by itself.
pub(crate) fn level(status: &Status) -> Level {
    match status.code() {
        Code::Internal | Code::Unknown | Code::DataLoss => Level::WARN,
        _ => Level::INFO,
    }
}
