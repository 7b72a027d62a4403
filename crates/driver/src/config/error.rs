use std::fmt;
use std::sync::Arc;

/// A mistake in a backend file.
///
/// # Behavior
/// Displays as ``gold.yaml: `storage[1].defaults.size`: …``. Never shows the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub origin: Arc<str>,
    /// The key, as `storage[1].defaults.size`; empty for the file as a whole.
    pub path: String,
    pub problem: String,
}

impl ConfigError {
    pub(super) fn new(origin: &Arc<str>, path: &str, problem: impl fmt::Display) -> ConfigError {
        ConfigError { origin: origin.clone(), path: path.to_owned(), problem: problem.to_string() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}: {}", self.origin, self.problem)
        } else {
            write!(f, "{}: `{}`: {}", self.origin, self.path, self.problem)
        }
    }
}

impl std::error::Error for ConfigError {}
