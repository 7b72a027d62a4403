use std::io;

use api::{ClientError, ErrorBody, ErrorKind};

/// Why a verb did not do what it was told, and the exit code that says so to scripts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// Exit codes; part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    Unreachable = 5,
    Timeout = 6,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), hint: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Code::Usage, message)
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// The message goes on after what it is about.
    #[must_use]
    pub(crate) fn about(mut self, subject: &str) -> Failure {
        self.message = format!("{subject}: {}", self.message);
        self
    }

    /// The output's reader has gone: nothing to complain about.
    pub(crate) fn is_quiet(&self) -> bool {
        self.message.is_empty()
    }
}

impl From<ErrorBody> for Failure {
    fn from(body: ErrorBody) -> Failure {
        Failure { code: code(body.kind), message: body.to_string(), hint: body.hint }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let message = error.to_string();
        match error {
            ClientError::Refused { body, .. } => body.into(),
            ClientError::Unreachable { server, .. } => {
                Failure::new(Code::Unreachable, message).hint(match server.strip_prefix("unix://") {
                    Some(_) => {
                        "start one with `leister run`, or name another with --server or LEISTER_SERVER; \
                         its socket is for root alone"
                    }
                    None => "start one with `leister run`, or name another with --server or LEISTER_SERVER",
                })
            }
            ClientError::Timeout { .. } => Failure::new(Code::Timeout, message)
                .hint("look at `leister get operations`; what was started goes on"),
            ClientError::Foreign { .. } => {
                Failure::new(Code::Failed, message).hint("is this a leister server of the same version?")
            }
            ClientError::Address { .. } => Failure::usage(message),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Code::Failed, ""),
            _ => Failure::new(Code::Failed, format!("cannot write the output: {error}")),
        }
    }
}

const fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid => Code::Usage,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Conflict | ErrorKind::Busy | ErrorKind::InUse => Code::Conflict,
        ErrorKind::Unreachable => Code::Unreachable,
        ErrorKind::NoCapacity | ErrorKind::Unsupported | ErrorKind::Denied | ErrorKind::Internal => {
            Code::Failed
        }
    }
}
