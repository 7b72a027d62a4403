//! What the array says becomes ours: one table.

use driver::{DriverError, ErrorKind};

/// An answer that is a refusal.
///
/// # Source
/// ONTAP REST API documentation, "Errors": `code` is a text, `target` the field that is meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (code {code}{})", target.as_deref().map(|t| format!(", field {t}")).unwrap_or_default())]
pub(crate) struct ArrayError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) target: Option<String>,
}

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("the array refused")]
    Refused(#[source] ArrayError),
    #[error("a job of the array failed")]
    Failed(#[source] ArrayError),
    /// Nothing can be said of what was asked: it may have been done.
    #[error("the array did not answer")]
    Silent(#[source] reqwest::Error),
    /// As little can be said as of no answer.
    #[error("the array's answer ends in its middle")]
    Cut,
    #[error("the job `{job}` has not ended after {seconds} s; it goes on")]
    Slow { job: String, seconds: u64 },
    #[error("the array's answer is not what its documentation says: {0}")]
    Strange(String),
}

// Codes, as the array writes them.
pub(crate) const EXISTS: &[&str] =
    &["1", "917835", "460770", "5374023", "5374242", "5374895", "72090025", "1704070", "1638407"];
pub(crate) const ABSENT: &[&str] =
    &["4", "917927", "917731", "1703954", "5374875", "5374876", "5374852", "5242927", "72089636"];
const IN_USE: &[&str] = &["8", "1703945", "1254197", "1254213", "1638555", "918247"];
const BUSY: &[&str] = &["524486", "144182225", "13303808", "13303812", "917888"];
const NO_SPACE: &[&str] = &["917534", "918216", "918224", "460776", "5374253", "5374260", "458802"];
const DENIED: &[&str] = &["6", "6691623"];
const INVALID: &[&str] = &["2", "262177", "262179", "262188", "262197", "262247", "5374892"];
/// Another LUN map of the same LUN to the same igroup.
pub(crate) const MAPPED: &[&str] = &["1254207", "5374922"];
pub(crate) const NO_IGROUP: &[&str] = &["5374852"];
/// An initiator sees the LUN by another igroup.
pub(crate) const SEEN_BY_ANOTHER: &[&str] = &["5374924", "1254207"];
pub(crate) const INITIATOR_KNOWN: &[&str] = &["5374035"];
pub(crate) const SNAPSHOT_BUSY: &str = "1638555";

impl ArrayError {
    pub(crate) fn is(&self, codes: &[&str]) -> bool {
        codes.contains(&self.code.as_str())
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        let rows = [
            (EXISTS, ErrorKind::Conflict),
            (ABSENT, ErrorKind::NotFound),
            (IN_USE, ErrorKind::InUse),
            (BUSY, ErrorKind::Busy),
            (NO_SPACE, ErrorKind::NoCapacity),
            (INVALID, ErrorKind::Invalid),
        ];
        if let Some((_, kind)) = rows.into_iter().find(|(codes, _)| self.is(codes)) {
            return kind;
        }
        match self.status {
            401 | 403 => ErrorKind::Denied,
            _ if self.is(DENIED) => ErrorKind::Denied,
            404 => ErrorKind::NotFound,
            405 | 501 => ErrorKind::Unsupported,
            409 => ErrorKind::Conflict,
            429 | 503 => ErrorKind::Unreachable,
            _ => ErrorKind::Internal,
        }
    }
}

impl CallError {
    pub(crate) fn refusal(&self) -> Option<&ArrayError> {
        match self {
            CallError::Refused(error) | CallError::Failed(error) => Some(error),
            CallError::Silent(_) | CallError::Cut | CallError::Slow { .. } | CallError::Strange(_) => None,
        }
    }

    pub(crate) fn is(&self, codes: &[&str]) -> bool {
        self.refusal().is_some_and(|error| error.is(codes))
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            CallError::Refused(error) | CallError::Failed(error) => error.kind(),
            CallError::Silent(_) | CallError::Cut => ErrorKind::Unreachable,
            CallError::Slow { .. } => ErrorKind::Busy,
            CallError::Strange(_) => ErrorKind::Internal,
        }
    }

    /// In the words of the contract. What the array says stays at the end of the chain.
    pub(crate) fn in_operation(self, operation: &'static str, array: &str) -> DriverError {
        let message = match &self {
            CallError::Refused(error) | CallError::Failed(error) => match error.kind() {
                ErrorKind::Denied => format!("the account may not do this: {}", error.message),
                _ => error.message.clone(),
            },
            CallError::Silent(error) if error.is_timeout() => "the array did not answer in time".to_owned(),
            CallError::Silent(error) if error.is_connect() => "the array cannot be reached".to_owned(),
            other => other.to_string(),
        };
        DriverError::new(self.kind(), operation, message).with("array", array).because(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arrays_codes_become_ours() {
        for (status, code, kind) in [
            (409, "1", ErrorKind::Conflict),
            (404, "4", ErrorKind::NotFound),
            (404, "917927", ErrorKind::NotFound),
            (409, "8", ErrorKind::InUse),
            (409, "1703945", ErrorKind::InUse),
            (409, "1638555", ErrorKind::InUse),
            (400, "917534", ErrorKind::NoCapacity),
            (400, "262197", ErrorKind::Invalid),
            (400, "5374892", ErrorKind::Invalid),
            (403, "6", ErrorKind::Denied),
            (401, "6691623", ErrorKind::Denied),
            (500, "524486", ErrorKind::Busy),
            (405, "3", ErrorKind::Unsupported),
            (503, "", ErrorKind::Unreachable),
            (429, "", ErrorKind::Unreachable),
            (500, "99", ErrorKind::Internal),
        ] {
            let error = ArrayError { status, code: code.to_owned(), message: String::new(), target: None };
            assert_eq!(error.kind(), kind, "{status} {code}");
        }
    }
}
