//! The passphrases of a volume whose content is encrypted on the node.

use model::Secret;
use serde::{Deserialize, Serialize};

use crate::error::{HostError, Result};

/// What opens a volume's encryption (LUKS2), and what did before.
///
/// # Behavior
/// While `previous` is given, an attach sees that `current` opens the volume and that `previous` does not any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Passphrases {
    pub current: Passphrase,
    #[serde(default)]
    pub previous: Option<Passphrase>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Passphrase {
    /// What messages call it.
    pub name: String,
    pub secret: Secret,
}

/// What a person can also type at `cryptsetup open`.
const LONGEST: usize = 512;

impl Passphrases {
    /// # Errors
    /// Names the passphrase that cannot be one; never shows it.
    pub(crate) fn check(&self) -> Result<()> {
        std::iter::once(&self.current).chain(&self.previous).try_for_each(Passphrase::check)
    }

    /// The previous one, where it is another than the current one.
    pub(crate) fn retired(&self) -> Option<&Passphrase> {
        self.previous.as_ref().filter(|p| p.secret != self.current.secret)
    }
}

impl Passphrase {
    fn check(&self) -> Result<()> {
        let secret = self.secret.expose();
        let problem = if secret.is_empty() {
            "is empty; write the passphrase into what it refers to".to_owned()
        } else if secret.len() > LONGEST {
            format!("is longer than {LONGEST} bytes; choose a shorter one")
        } else if secret.contains(['\n', '\r', '\0']) {
            "has more than one line; a passphrase is one line of text".to_owned()
        } else {
            return Ok(());
        };
        Err(HostError::Invalid { what: "passphrase", value: self.name.escape_default().to_string(), problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(secret: &str) -> Passphrase {
        Passphrase { name: "gold-1".to_owned(), secret: Secret::new(secret) }
    }

    #[test]
    fn what_cannot_be_a_passphrase_is_refused_by_its_name_and_never_shown() {
        for (secret, expected) in [
            (String::new(), "empty"),
            ("hunter2".repeat(100), "longer"),
            ("hunter2\nhunter2".to_owned(), "line"),
            ("hunter2\0".to_owned(), "line"),
        ] {
            let good = passphrase("correct horse");
            for passphrases in [
                Passphrases { current: passphrase(&secret), previous: None },
                Passphrases { current: good, previous: Some(passphrase(&secret)) },
            ] {
                let shown = passphrases.check().unwrap_err().to_string();
                assert!(shown.contains("gold-1") && shown.contains(expected), "{shown}");
                assert!(!shown.contains("hunter2") && !format!("{passphrases:?}").contains("hunter2"));
            }
        }
        Passphrases { current: passphrase("correct horse"), previous: None }.check().unwrap();
    }
}
