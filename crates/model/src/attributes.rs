//! What classes ask for and pools offer, in Trident's grammar.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::nearest;
use crate::volume::words;

words!(
/// A property of a pool that a class can ask for.
Attribute, "attribute", {
    Media = "media",
    ProvisioningType = "provisioningType",
    BackendType = "backendType",
    Snapshots = "snapshots",
    Clones = "clones",
    Encryption = "encryption",
    Replication = "replication",
    Iops = "IOPS",
    Region = "region",
    Zone = "zone",
    NasType = "nasType",
    SanType = "sanType",
});

/// What a pool has of one attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Offer {
    Bool(bool),
    Range { min: u64, max: u64 },
    Words(BTreeSet<String>),
}

pub type Offers = BTreeMap<Attribute, Offer>;

/// What a class wants of one attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Requirement {
    Bool(bool),
    Number(u64),
    Word(String),
}

pub type Requirements = BTreeMap<Attribute, Requirement>;

impl Offer {
    pub fn words<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Offer {
        Offer::Words(words.into_iter().map(Into::into).collect())
    }

    /// # Behavior
    /// An offer of `true` satisfies either wish, `false` only `false`; a number must lie in the range; a word
    /// must be among those offered.
    pub fn satisfies(&self, wanted: &Requirement) -> bool {
        match (self, wanted) {
            (Offer::Bool(offered), Requirement::Bool(wanted)) => *offered || !*wanted,
            (Offer::Range { min, max }, Requirement::Number(n)) => min <= n && n <= max,
            (Offer::Words(offered), Requirement::Word(word)) => offered.contains(word),
            _ => false,
        }
    }
}

impl Requirement {
    /// Reads the text a class gives for an attribute.
    ///
    /// # Errors
    /// Says what kind of value the attribute takes.
    pub fn parse(attribute: Attribute, text: &str) -> Result<Requirement, String> {
        match attribute {
            Attribute::Snapshots | Attribute::Clones | Attribute::Encryption | Attribute::Replication => {
                match text.to_ascii_lowercase().as_str() {
                    "true" => Ok(Requirement::Bool(true)),
                    "false" => Ok(Requirement::Bool(false)),
                    _ => Err(format!("{attribute} is `{text}`; write true or false")),
                }
            }
            Attribute::Iops => text
                .parse()
                .map(Requirement::Number)
                .map_err(|_| format!("{attribute} is `{text}`; write a whole number")),
            Attribute::ProvisioningType => {
                let wanted = crate::Provisioning::from_str(text).map_err(|e| format!("{attribute}: {e}"))?;
                Ok(Requirement::Word(wanted.as_str().to_owned()))
            }
            Attribute::Media => {
                let word = text.to_ascii_lowercase();
                match word.as_str() {
                    "hdd" | "hybrid" | "ssd" => Ok(Requirement::Word(word)),
                    _ => Err(format!("{attribute} is `{text}`; write hdd, hybrid or ssd")),
                }
            }
            Attribute::NasType | Attribute::SanType => Ok(Requirement::Word(text.to_ascii_lowercase())),
            Attribute::BackendType | Attribute::Region | Attribute::Zone => {
                Ok(Requirement::Word(text.to_owned()))
            }
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Requirement::Bool(b) => write!(f, "{b}"),
            Requirement::Number(n) => write!(f, "{n}"),
            Requirement::Word(w) => write!(f, "{w}"),
        }
    }
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Offer::Bool(b) => write!(f, "{b}"),
            Offer::Range { min, max } => write!(f, "{min}..{max}"),
            Offer::Words(words) => {
                for (i, word) in words.iter().enumerate() {
                    write!(f, "{}{word}", if i == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_satisfies_by_tridents_rules() {
        let table = [
            (Offer::Bool(true), Requirement::Bool(false), true),
            (Offer::Bool(true), Requirement::Bool(true), true),
            (Offer::Bool(false), Requirement::Bool(true), false),
            (Offer::Range { min: 1000, max: 4000 }, Requirement::Number(1000), true),
            (Offer::Range { min: 1000, max: 4000 }, Requirement::Number(4001), false),
            (Offer::words(["thin", "thick"]), Requirement::Word("thick".into()), true),
            (Offer::words(["thin"]), Requirement::Word("thick".into()), false),
            (Offer::words(["thin"]), Requirement::Bool(true), false),
        ];
        for (offer, wanted, expected) in table {
            assert_eq!(offer.satisfies(&wanted), expected, "{offer} / {wanted}");
        }
    }
}
