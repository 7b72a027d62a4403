//! The mode of a volume's root, as a user writes it.

/// Reads `0770`, `rwxrwx---` or `---rwxrwx---`; `None` for anything else.
pub fn parse(text: &str) -> Option<u32> {
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    if octal {
        return u32::from_str_radix(text, 8).ok();
    }
    // From the last place to the first; the leading three are setuid, setgid and sticky.
    const PLACES: &[u8; 12] = b"xwrxwrxwrtss";
    if !matches!(text.len(), 9 | 12) {
        return None;
    }
    text.bytes().rev().zip(PLACES).enumerate().try_fold(0, |mode, (bit, (is, may))| match is {
        b'-' => Some(mode),
        set if set == *may => Some(mode | 1 << bit),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn octal_and_symbolic_modes_mean_the_same() {
        for (text, mode) in [
            ("0770", 0o770),
            ("755", 0o755),
            ("2775", 0o2775),
            ("rwxr-x---", 0o750),
            ("---rwxr-xr-x", 0o755),
            ("-s-rwxrwxrwx", 0o2777),
            ("s--r--------", 0o4400),
            ("--t---------", 0o1000),
        ] {
            assert_eq!(parse(text), Some(mode), "{text}");
        }
        for text in ["", "77", "07700", "0880", "rwx", "xwrxwrxwr", "rwxrwxrwé", "t--rwxrwxrwx"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
