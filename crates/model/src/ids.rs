//! Typed names. Each checks its own rule when it is made, so a value that exists is legal.

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{text}` {problem}")]
pub struct IdError {
    pub what: &'static str,
    pub text: String,
    pub problem: String,
}

/// Letters, digits, `_`, `.` and `-`, starting with a letter or digit: what Docker, Kubernetes and a path allow.
fn check_name(what: &'static str, text: &str, longest: usize) -> Result<(), IdError> {
    let refuse = |problem: String| Err(IdError { what, text: text.chars().take(80).collect(), problem });
    if text.is_empty() {
        return refuse("is empty".to_owned());
    }
    if text.len() > longest {
        return refuse(format!("has {} characters; at most {longest} are allowed", text.len()));
    }
    if let Some(bad) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "_.-".contains(*c))) {
        return refuse(format!(
            "has the character `{}`; use letters, digits, `_`, `.` and `-`",
            bad.escape_default()
        ));
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return refuse("must start with a letter or a digit".to_owned());
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $longest:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(std::sync::Arc<str>);

        impl $type {
            /// # Errors
            /// Says which character or length does not fit.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                check_name($what, text, $longest)?;
                Ok($type(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl std::str::FromStr for $type {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The name a user gave a volume; unique within one Leister instance.
    VolumeId, "volume name", 200);
name!(
    /// The name of a volume on its backend, chosen and stored before the backend hears of it.
    Handle, "handle", 254);
name!(
    /// The name of a snapshot; unique within its volume.
    SnapshotName, "snapshot name", 200);
name!(
    /// One configured array or Linux host, and the account used on it.
    BackendName, "backend name", 200);
name!(
    /// Where in a backend a volume can be placed.
    PoolName, "pool name", 200);
name!(
    /// A kind of storage that users ask for by name.
    ClassName, "class name", 200);
name!(
    /// A machine that mounts volumes.
    NodeName, "node name", 253);
name!(
    /// Tags what an instance makes on a backend, so that nothing foreign is ever touched.
    InstanceId, "instance id", 100);

/// One piece of work that was asked for; counts up within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(pub u64);

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "op-{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn illegal_names_are_refused_with_the_reason() {
        for (text, part) in [
            ("", "is empty"),
            ("a/b", "the character `/`"),
            ("..", "must start with a letter"),
            ("-v", "must start with a letter"),
            ("na me", "the character ` `"),
            ("ä", "the character `\\u{e4}`"),
        ] {
            let error = VolumeId::new(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(VolumeId::new("x".repeat(201)).unwrap_err().to_string().contains("at most 200"));
        assert!(VolumeId::new("pvc-9e6cb_a.b").is_ok());
    }

    #[test]
    fn an_illegal_name_does_not_deserialize() {
        assert!(serde_json::from_str::<VolumeId>("\"a/b\"").is_err());
        assert_eq!(serde_json::from_str::<VolumeId>("\"ab\"").unwrap().as_str(), "ab");
    }
}
