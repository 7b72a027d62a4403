//! The filer's errors as the driver's: one table.

use std::io;

use driver::{DriverError, ErrorKind};
use filer::FilerError;

/// What the filer said, in the driver's terms.
///
/// # Behavior
/// The filer's message is the source: Display of the whole chain tells everything once.
pub(crate) fn translate(operation: &'static str, error: FilerError) -> DriverError {
    let kind = kind(&error);
    let message = match kind {
        ErrorKind::Unreachable => "the pool does not answer",
        ErrorKind::Denied => "the rights do not suffice; run as root",
        _ => "the pool refuses",
    };
    // A refusal is for the user: its message is the answer, not a cause of it.
    match error {
        FilerError::Io { .. } => DriverError::new(kind, operation, message).because(error),
        refusal => DriverError::new(kind, operation, refusal.to_string()),
    }
}

fn kind(error: &FilerError) -> ErrorKind {
    match error.kind() {
        filer::ErrorKind::Invalid => ErrorKind::Invalid,
        filer::ErrorKind::NotFound => ErrorKind::NotFound,
        filer::ErrorKind::Conflict => ErrorKind::Conflict,
        filer::ErrorKind::Busy => ErrorKind::Busy,
        filer::ErrorKind::InUse => ErrorKind::InUse,
        filer::ErrorKind::NoCapacity => ErrorKind::NoCapacity,
        filer::ErrorKind::Unsupported => ErrorKind::Unsupported,
        filer::ErrorKind::Unreachable => ErrorKind::Unreachable,
        filer::ErrorKind::Denied => ErrorKind::Denied,
        filer::ErrorKind::Io => match error {
            FilerError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorKind::Denied
            }
            // A device that fails or has vanished may come back.
            FilerError::Io { .. } => ErrorKind::Unreachable,
            _ => ErrorKind::Internal,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn every_error_of_the_filer_has_its_kind() {
        let io = |code| FilerError::Io {
            operation: "open",
            path: "/p".into(),
            source: io::Error::from_raw_os_error(code),
        };
        let text = || "why".to_owned();
        for (error, kind) in [
            (FilerError::Invalid(text()), ErrorKind::Invalid),
            (FilerError::NotFound(text()), ErrorKind::NotFound),
            (FilerError::Conflict(text()), ErrorKind::Conflict),
            (FilerError::Busy(text()), ErrorKind::Busy),
            (FilerError::InUse(text()), ErrorKind::InUse),
            (FilerError::NoCapacity(text()), ErrorKind::NoCapacity),
            (FilerError::Unsupported(text()), ErrorKind::Unsupported),
            (FilerError::Unreachable(text()), ErrorKind::Unreachable),
            (FilerError::Denied(text()), ErrorKind::Denied),
            (io(5), ErrorKind::Unreachable),
            (io(30), ErrorKind::Unreachable),
            (io(1), ErrorKind::Denied),
            (io(13), ErrorKind::Denied),
        ] {
            let refusal = !matches!(error, FilerError::Io { .. });
            let driver = translate("create volume", error);
            assert_eq!(driver.kind, kind);
            assert_eq!(driver.to_string().contains("why"), refusal, "{driver}");
            assert_eq!(driver.source().is_some(), !refusal, "{driver}");
        }
    }
}
