//! A numbered record that knows whether it is whole.

/// Bytes of one record.
pub(crate) const SIZE: usize = 4096;

const CHECKSUM: usize = SIZE - 4;

/// The record of this number in this run, the same at each call.
pub(crate) fn record(run: u64, number: u64) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    // No two blocks of it are alike, so that one in another's place is seen.
    for (at, word) in (0_u64..).zip(bytes[..CHECKSUM].chunks_exact_mut(8)) {
        let value = match at {
            0 => run,
            1 => number,
            at => (number ^ run.rotate_left(17)).wrapping_add(at).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        };
        word.copy_from_slice(&value.to_le_bytes());
    }
    let sum = crc32fast::hash(&bytes[..CHECKSUM]);
    bytes[CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Why these bytes are not the record of this number; `None` when they are.
pub(crate) fn flaw(run: u64, number: u64, bytes: &[u8]) -> Option<String> {
    if bytes == record(run, number) {
        return None;
    }
    let word = |at: usize| {
        bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes).unwrap_or_default()
    };
    let whole = bytes.len() == SIZE && {
        let sum = u32::from_le_bytes([bytes[SIZE - 4], bytes[SIZE - 3], bytes[SIZE - 2], bytes[SIZE - 1]]);
        crc32fast::hash(&bytes[..CHECKSUM]) == sum
    };
    Some(match whole {
        true => format!("holds record {} of run {:x}", word(8), word(0)),
        false if bytes.len() < SIZE => "is beyond the end of the file".to_owned(),
        false if bytes.iter().all(|b| *b == 0) => "holds zeros".to_owned(),
        false => "is torn".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_known_and_what_is_not_it_is_named() {
        let mut bytes = record(7, 3);
        assert_eq!(flaw(7, 3, &bytes), None);
        assert_eq!(flaw(7, 4, &bytes).unwrap(), "holds record 3 of run 7");
        assert_eq!(flaw(7, 3, &bytes[..100]).unwrap(), "is beyond the end of the file");
        assert_eq!(flaw(7, 3, &[0; SIZE]).unwrap(), "holds zeros");
        bytes[2000] ^= 1;
        assert_eq!(flaw(7, 3, &bytes).unwrap(), "is torn");
    }
}
