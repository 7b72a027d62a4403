//! Quantities: the one place that parses and prints sizes.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// A size in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(u64);

/// What a number without a unit means: Docker's `-o size` reads it as GiB, a backend file as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoUnit {
    Bytes,
    Gibibytes,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseBytesError {
    #[error("size is empty; write a whole number and a unit, as in 20Gi")]
    Empty,
    #[error("size `{0}` is not a whole number with a unit; write for example 500Mi, 20G or 1TiB")]
    Number(String),
    #[error(
        "size `{text}` has the unknown unit `{unit}`; use B, K, M, G, T, P (also Ki or KiB: 1024) or KB, MB, GB, TB, PB (1000)"
    )]
    Unit { text: String, unit: String },
    #[error("size `{0}` is larger than 16 EiB")]
    TooLarge(String),
    #[error("size `{0}` is zero; ask for at least one byte")]
    Zero(String),
}

const KIB: u64 = 1024;

impl Bytes {
    pub const ZERO: Bytes = Bytes(0);

    pub const fn new(bytes: u64) -> Self {
        Bytes(bytes)
    }

    pub const fn kib(n: u64) -> Self {
        Bytes(n * KIB)
    }

    pub const fn mib(n: u64) -> Self {
        Bytes(n * KIB * KIB)
    }

    pub const fn gib(n: u64) -> Self {
        Bytes(n * KIB * KIB * KIB)
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    #[must_use]
    pub const fn saturating_sub(self, other: Bytes) -> Bytes {
        Bytes(self.0.saturating_sub(other.0))
    }

    #[must_use]
    pub const fn saturating_add(self, other: Bytes) -> Bytes {
        Bytes(self.0.saturating_add(other.0))
    }

    /// The last multiple of `step` that is not larger.
    #[must_use]
    pub fn round_down(self, step: Bytes) -> Bytes {
        Bytes(self.0 - self.0.checked_rem(step.0).unwrap_or(0))
    }

    /// The next multiple of `step` that is not smaller; stays as it is where that would not fit.
    #[must_use]
    pub fn round_up(self, step: Bytes) -> Bytes {
        if step.0 == 0 { self } else { Bytes(self.0.checked_next_multiple_of(step.0).unwrap_or(self.0)) }
    }

    /// Reads a size as Trident's users write it.
    ///
    /// # Behavior
    /// `K Ki KiB` up to `P` are powers of 1024, `KB` up to `PB` powers of 1000, `B` is one byte; case is
    /// ignored except that it never changes the meaning. Whole numbers only.
    ///
    /// # Errors
    /// Names the text and the part that does not fit. Zero is an error: no volume has that size.
    pub fn parse(text: &str, no_unit: NoUnit) -> Result<Bytes, ParseBytesError> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(ParseBytesError::Empty);
        }
        let split = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let (digits, unit) = trimmed.split_at(split);
        let unit = unit.trim();
        if digits.is_empty() || unit.starts_with(['.', ',', '-', '+']) {
            return Err(ParseBytesError::Number(trimmed.to_owned()));
        }
        let factor = factor(unit, no_unit)
            .ok_or_else(|| ParseBytesError::Unit { text: trimmed.to_owned(), unit: unit.to_owned() })?;
        let number: u64 = digits.parse().map_err(|_| ParseBytesError::TooLarge(trimmed.to_owned()))?;
        let bytes =
            number.checked_mul(factor).ok_or_else(|| ParseBytesError::TooLarge(trimmed.to_owned()))?;
        if bytes == 0 { Err(ParseBytesError::Zero(trimmed.to_owned())) } else { Ok(Bytes(bytes)) }
    }
}

fn factor(unit: &str, no_unit: NoUnit) -> Option<u64> {
    let lower = unit.to_ascii_lowercase();
    if lower.is_empty() {
        return Some(match no_unit {
            NoUnit::Bytes => 1,
            NoUnit::Gibibytes => KIB.pow(3),
        });
    }
    if lower == "b" {
        return Some(1);
    }
    let power = 1 + "kmgtp".find(lower.chars().next()?)?;
    let base: u64 = match &lower[1..] {
        "" | "i" | "ib" => KIB,
        "b" => 1000,
        _ => return None,
    };
    base.checked_pow(u32::try_from(power).ok()?)
}

/// Prints the largest binary unit that loses nothing (`20GiB`), else two decimals (`1.50GiB`).
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < KIB {
            return f.pad(&format!("{}B", self.0));
        }
        let step = (self.0.ilog2() / 10) as usize;
        let scale = 1u64 << (step * 10);
        let unit = UNITS[step - 1];
        if self.0.is_multiple_of(scale) {
            f.pad(&format!("{}{unit}", self.0 / scale))
        } else {
            let hundredths = u128::from(self.0) * 100 / u128::from(scale);
            f.pad(&format!("{}.{:02}{unit}", hundredths / 100, hundredths % 100))
        }
    }
}

impl Add for Bytes {
    type Output = Bytes;
    fn add(self, other: Bytes) -> Bytes {
        self.saturating_add(other)
    }
}

impl Sub for Bytes {
    type Output = Bytes;
    fn sub(self, other: Bytes) -> Bytes {
        self.saturating_sub(other)
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Bytes>>(iter: I) -> Bytes {
        iter.fold(Bytes::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_read_as_trident_reads_them() {
        for (text, bytes) in [
            ("20G", Bytes::gib(20)),
            ("20Gi", Bytes::gib(20)),
            ("20 GiB", Bytes::gib(20)),
            ("1GB", Bytes::new(1_000_000_000)),
            ("7", Bytes::gib(7)),
            ("512B", Bytes::new(512)),
            ("1k", Bytes::kib(1)),
            ("3tb", Bytes::new(3_000_000_000_000)),
        ] {
            assert_eq!(Bytes::parse(text, NoUnit::Gibibytes), Ok(bytes), "{text}");
        }
        assert_eq!(Bytes::parse("7", NoUnit::Bytes), Ok(Bytes::new(7)));
    }

    #[test]
    fn a_size_that_is_not_one_is_refused_with_the_reason() {
        for (text, part) in [
            ("", "empty"),
            ("G", "whole number"),
            ("1.5G", "whole number"),
            ("-1G", "whole number"),
            ("10Q", "unknown unit `Q`"),
            ("10Gx", "unknown unit `Gx`"),
            ("0", "zero"),
            ("99999999999G", "larger"),
            ("99999999999999999999999", "larger"),
            ("10Gé", "unknown unit"),
            ("é", "whole number"),
        ] {
            let error = Bytes::parse(text, NoUnit::Gibibytes).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_size_prints_in_its_largest_exact_unit() {
        assert_eq!(Bytes::gib(20).to_string(), "20GiB");
        assert_eq!(Bytes::new(1).to_string(), "1B");
        assert_eq!(Bytes::new(1536 * 1024 * 1024).to_string(), "1.50GiB");
        assert_eq!(Bytes::new(u64::MAX).to_string(), "15.99EiB");
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = Bytes::parse(&text, NoUnit::Gibibytes);
        }
    }
}
