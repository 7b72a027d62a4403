use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What went wrong, in the terms that decide what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The request cannot be right, here or elsewhere.
    Invalid,
    NotFound,
    /// It exists, but is another thing.
    Conflict,
    /// Something else is going on with it.
    Busy,
    /// It is used by a node, a clone or a snapshot.
    InUse,
    NoCapacity,
    Unsupported,
    Unreachable,
    /// The backend does not accept our credentials or rights.
    Denied,
    Internal,
}

/// Whether trying the same again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retry {
    Never,
    /// Another pool or backend might do it; this one will not.
    Elsewhere,
    Later,
}

/// The one error of all drivers. Display speaks for this layer only; `source` goes deeper.
#[derive(Debug)]
pub struct DriverError {
    pub kind: ErrorKind,
    pub retry: Retry,
    /// Verb and object, such as `create volume`.
    pub operation: &'static str,
    pub message: String,
    /// What helps to find it: handle, pool, URL.
    pub context: Vec<(&'static str, String)>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ErrorKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Invalid => "invalid",
            ErrorKind::NotFound => "not found",
            ErrorKind::Conflict => "conflict",
            ErrorKind::Busy => "busy",
            ErrorKind::InUse => "in use",
            ErrorKind::NoCapacity => "no capacity",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::Denied => "denied",
            ErrorKind::Internal => "internal",
        }
    }
}

impl DriverError {
    /// # Behavior
    /// `retry` follows from the kind: a full pool elsewhere, an unreachable or busy backend later.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        let retry = match kind {
            ErrorKind::NoCapacity | ErrorKind::Unsupported | ErrorKind::Denied => Retry::Elsewhere,
            ErrorKind::Busy | ErrorKind::Unreachable => Retry::Later,
            ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::Conflict
            | ErrorKind::InUse
            | ErrorKind::Internal => Retry::Never,
        };
        DriverError { kind, retry, operation, message: message.into(), context: Vec::new(), source: None }
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.context.push((name, value.to_string()));
        self
    }

    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.operation, self.message)?;
        for (i, (name, value)) in self.context.iter().enumerate() {
            write!(f, "{}{name} {value}", if i == 0 { " (" } else { ", " })?;
        }
        if self.context.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}

impl Error for DriverError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|s| s.as_ref() as &(dyn Error + 'static))
    }
}
