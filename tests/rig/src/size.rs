//! Sizes of memory and disks.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Size(u64);

const MIB: u64 = 1 << 20;

impl Size {
    pub const fn mib(number: u64) -> Self {
        Self(number * MIB)
    }

    pub const fn gib(number: u64) -> Self {
        Self::mib(number * 1024)
    }

    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// `512M`, `8G`.
impl FromStr for Size {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let wanted = || format!("size `{text}`: write a whole number and M, G or T, such as `512M` or `8G`");
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
            "M" | "MIB" => MIB,
            "G" | "GIB" => MIB << 10,
            "T" | "TIB" => MIB << 20,
            _ => bail!(wanted()),
        };
        let number: u64 = digits.parse().with_context(wanted)?;
        number.checked_mul(unit).filter(|bytes| *bytes > 0).map(Self).with_context(wanted)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 / MIB {
            mib if mib % 1024 == 0 => write!(f, "{}G", mib / 1024),
            mib => write!(f, "{mib}M"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_with_its_unit_and_written_back() {
        for (text, size) in [("512M", Size::mib(512)), ("8g", Size::gib(8)), ("1TiB", Size::gib(1024))] {
            assert_eq!(text.parse::<Size>().unwrap(), size);
            assert_eq!(size.to_string().parse::<Size>().unwrap(), size);
        }
    }

    #[test]
    fn a_size_that_could_be_misread_is_refused_with_an_example() {
        for text in ["", "8", "G", "1.5G", "-1G", "0M", "8K", "99999999999999T"] {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert!(error.contains("`512M`"), "{text}: {error}");
        }
    }
}
