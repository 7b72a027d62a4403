//! File volumes: a subvolume, bind-mounted.

use std::path::PathBuf;
use std::str::FromStr;

use model::{VolumeOption, VolumeOptions};

/// Permission bits of a volume's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u32);

/// The label that says that a volume shows its snapshots.
pub(crate) const SNAPSHOT_DIR: &str = "leister.io/snapshotDir";

const SYMBOLS: [u8; 9] = *b"rwxrwxrwx";

/// The snapshots' place, where the volume is to show them.
pub(super) fn shown(state: &filer::VolumeState, snapshots: Option<&PathBuf>) -> Option<PathBuf> {
    let wanted = state.labels.get(SNAPSHOT_DIR).is_some_and(|flag| flag == "true");
    snapshots.filter(|_| wanted).cloned()
}

/// # Errors
/// Text that is no mode, with the two ways to write one.
pub(crate) fn mode(options: &VolumeOptions) -> Result<Option<u32>, String> {
    options
        .get(&VolumeOption::UnixPermissions)
        .map(|text| text.parse::<Mode>().map(|mode| mode.0))
        .transpose()
        .map_err(|e| format!("{}: {e}", VolumeOption::UnixPermissions))
}

/// # Errors
/// Neither `true` nor `false`.
pub(crate) fn snapshot_dir(options: &VolumeOptions) -> Result<bool, String> {
    match options.get(&VolumeOption::SnapshotDir) {
        None => Ok(false),
        Some(text) => flag(text).map_err(|e| format!("{}: {e}", VolumeOption::SnapshotDir)),
    }
}

pub(crate) fn flag(text: &str) -> Result<bool, String> {
    text.to_ascii_lowercase().parse().map_err(|_| format!("`{text}` is neither true nor false"))
}

/// Octal (`0770`) or symbolic, with or without the three leading characters that Trident writes (`---rwxr-x---`).
impl FromStr for Mode {
    type Err = String;
    fn from_str(text: &str) -> Result<Mode, String> {
        let refuse =
            || format!("mode `{text}` is not one; write it octal, as in 0770, or as in ---rwxrwx---");
        let digits = text.strip_prefix("0o").unwrap_or(text);
        if !digits.is_empty() && digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit()) {
            return match u32::from_str_radix(digits, 8) {
                Ok(mode) if mode <= 0o7777 => Ok(Mode(mode)),
                _ => Err(refuse()),
            };
        }
        let letters = match text.as_bytes() {
            letters if letters.len() == 9 => letters,
            [b'-', b'-', b'-', letters @ ..] if letters.len() == 9 => letters,
            _ => return Err(refuse()),
        };
        letters.iter().zip(SYMBOLS).try_fold(Mode(0), |Mode(mode), (letter, symbol)| match *letter {
            b'-' => Ok(Mode(mode << 1)),
            letter if letter == symbol => Ok(Mode(mode << 1 | 1)),
            _ => Err(refuse()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_octal_and_symbolic() {
        for (text, mode) in [
            ("0770", 0o770),
            ("770", 0o770),
            ("0o755", 0o755),
            ("02775", 0o2775),
            ("---rwxr-x---", 0o750),
            ("rwxrwxrwx", 0o777),
            ("---------", 0),
        ] {
            assert_eq!(text.parse(), Ok(Mode(mode)), "{text}");
        }
        for text in ["", "0999", "77777", "rwx", "rwxrwxrwz", "xwrxwrxwr", "s--rwxr-x---", "-1", "é--rwxrwx"]
        {
            let error = text.parse::<Mode>().unwrap_err();
            assert!(error.contains("write it octal"), "{text}: {error}");
        }
    }
}
