use std::fmt;
use std::sync::Arc;

use driver::{DriverError, ErrorKind, Retry};
use store::StoreError;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request was not done, for its user. Cheap to clone: everyone who joined an operation gets it.
#[derive(Clone, Debug)]
pub struct Error {
    pub kind: ErrorKind,
    pub message: String,
    /// The way out, where there is one.
    pub hint: Option<String>,
    pub(crate) retry: Retry,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), hint: None, retry: Retry::Never, source: None }
    }

    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Invalid, message)
    }

    pub fn not_found(what: &str, name: impl fmt::Display) -> Error {
        Error::new(ErrorKind::NotFound, format!("there is no {what} `{name}`"))
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn retry(mut self, retry: Retry) -> Error {
        self.retry = retry;
        self
    }

    #[must_use]
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        self.source = Some(Arc::new(source));
        self
    }

    /// Message, causes and hint in one line, for people whose tool shows one line.
    pub fn sentence(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(deeper) = cause {
            let deeper_text = deeper.to_string();
            if !text.contains(&deeper_text) {
                text = format!("{text}: {deeper_text}");
            }
            cause = deeper.source();
        }
        match &self.hint {
            Some(hint) => format!("{text}; {hint}"),
            None => text,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|s| s.as_ref() as &(dyn std::error::Error + 'static))
    }
}

impl From<DriverError> for Error {
    fn from(error: DriverError) -> Error {
        Error {
            kind: error.kind,
            message: error.to_string(),
            hint: None,
            retry: error.retry,
            source: std::error::Error::source(&error).is_some().then(|| Arc::new(error) as Arc<_>),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Error {
        let kind = match &error {
            StoreError::Conflict { .. } => ErrorKind::Busy,
            StoreError::Fenced { .. } | StoreError::Held { .. } | StoreError::Unavailable { .. } => {
                ErrorKind::Unreachable
            }
            StoreError::Denied { .. } => ErrorKind::Denied,
            StoreError::Damaged { .. } | StoreError::TooLarge { .. } => ErrorKind::Internal,
        };
        let retry = match kind {
            ErrorKind::Busy | ErrorKind::Unreachable => Retry::Later,
            _ => Retry::Never,
        };
        let message = "the store refused a read or write".to_owned();
        Error { kind, message, hint: None, retry, source: Some(Arc::new(error)) }
    }
}
