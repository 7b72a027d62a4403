//! Sizes as Kubernetes writes them.

use model::Bytes;

const UNITS: [(&str, u128); 13] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
    ("", 1),
];
/// Of a fraction no more counts.
const PLACES: usize = 9;

/// Whole bytes, rounded up.
///
/// # Errors
/// What is none, or too large.
pub(crate) fn parse(text: &str) -> Result<Bytes, String> {
    let refuse = || format!("`{text}` is not a size; write one as in 10Gi");
    if let Some(thousandths) = text.strip_suffix('m') {
        let number: u128 = thousandths.parse().map_err(|_| refuse())?;
        return bytes(number.div_ceil(1000)).ok_or_else(refuse);
    }
    if let Some((mantissa, exponent)) =
        text.split_once(['e', 'E']).filter(|(_, rest)| !rest.is_empty() && *rest != "i")
    {
        let exponent: u32 = exponent.trim_start_matches('+').parse().map_err(|_| refuse())?;
        let unit = 10_u128.checked_pow(exponent).ok_or_else(refuse)?;
        return scale(mantissa, unit).and_then(bytes).ok_or_else(refuse);
    }
    let (number, unit) =
        UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).ok_or_else(refuse)?;
    scale(number, unit).and_then(bytes).ok_or_else(refuse)
}

fn scale(number: &str, unit: u128) -> Option<u128> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || part.len() > PLACES || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: u128 = whole.parse().ok()?;
    let digits = u32::try_from(part.len()).ok()?;
    let part: u128 = if part.is_empty() { 0 } else { part.parse().ok()? };
    let fraction = part.checked_mul(unit)?.div_ceil(10_u128.pow(digits));
    whole.checked_mul(unit)?.checked_add(fraction)
}

fn bytes(number: u128) -> Option<Bytes> {
    // Sizes are signed numbers in Kubernetes.
    i64::try_from(number).ok().and_then(|number| u64::try_from(number).ok()).map(Bytes::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_kubernetes_means_them() {
        for (text, size) in [
            ("300Gi", 300 << 30),
            ("1.5Gi", 3 << 29),
            ("1e9", 1_000_000_000),
            ("2E", 2_000_000_000_000_000_000),
            ("1Ei", 1 << 60),
            ("500M", 500_000_000),
            ("128974848", 128_974_848),
            ("100m", 1),
            ("0.5k", 500),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Ok(Bytes::new(size)), "{text}");
        }
        for wrong in ["", "Gi", "-1Gi", "1 Gi", "1gi", "ten", "9Ei", "1e99", ".5Gi", "1.x"] {
            assert!(parse(wrong).unwrap_err().contains("10Gi"), "{wrong}");
        }
    }
}
