//! The first superblock of the filesystems we make, read by ourselves: how large, how finely blocked, whose.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use model::{Bytes, Filesystem};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) family: Family,
    /// How much of the device it spans.
    pub(crate) size: Bytes,
    /// Bytes of the smallest unit it reads or writes.
    pub(crate) smallest_block: u32,
    uuid: [u8; 16],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Ext,
    Xfs,
    Btrfs,
}

const BTRFS_AT: usize = 64 << 10;
const READ: usize = BTRFS_AT + 4096;

impl Superblock {
    /// `None` when none of the three is there.
    pub(crate) fn read(device: &File) -> io::Result<Option<Superblock>> {
        let mut head = vec![0; READ];
        let mut filled = 0;
        while filled < READ {
            match device.read_at(&mut head[filled..], filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        head.truncate(filled);
        Ok(Superblock::parse(&head))
    }

    pub(crate) fn parse(head: &[u8]) -> Option<Superblock> {
        xfs(head).or_else(|| ext(head)).or_else(|| btrfs(head))
    }

    pub(crate) fn is(&self, filesystem: Filesystem) -> bool {
        self.family
            == match filesystem {
                Filesystem::Ext3 | Filesystem::Ext4 => Family::Ext,
                Filesystem::Xfs => Family::Xfs,
                Filesystem::Btrfs => Family::Btrfs,
            }
    }

    pub(crate) fn uuid_text(&self) -> String {
        let mut text = String::new();
        for (i, byte) in self.uuid.iter().enumerate() {
            if [4, 6, 8, 10].contains(&i) {
                text.push('-');
            }
            text.push_str(&format!("{byte:02x}"));
        }
        text
    }
}

fn xfs(head: &[u8]) -> Option<Superblock> {
    if head.get(..4)? != b"XFSB" {
        return None;
    }
    let block = u32::from_be_bytes(array(head, 4)?);
    let blocks = u64::from_be_bytes(array(head, 8)?);
    let sector = u16::from_be_bytes(array(head, 102)?);
    Some(Superblock {
        family: Family::Xfs,
        size: Bytes::new(blocks.saturating_mul(u64::from(block))),
        smallest_block: u32::from(sector),
        uuid: array(head, 32)?,
    })
}

fn ext(head: &[u8]) -> Option<Superblock> {
    const INCOMPAT_64BIT: u32 = 0x80;
    let sb = head.get(1024..2048)?;
    if u16::from_le_bytes(array(sb, 56)?) != 0xEF53 {
        return None;
    }
    let block = 1024u32.checked_shl(u32::from_le_bytes(array(sb, 24)?)).filter(|b| *b >= 1024)?;
    let low = u32::from_le_bytes(array(sb, 4)?);
    let wide = u32::from_le_bytes(array(sb, 96)?) & INCOMPAT_64BIT != 0;
    let high = if wide { u32::from_le_bytes(array(sb, 336)?) } else { 0 };
    let blocks = u64::from(high) << 32 | u64::from(low);
    Some(Superblock {
        family: Family::Ext,
        size: Bytes::new(blocks.saturating_mul(u64::from(block))),
        smallest_block: block,
        uuid: array(sb, 104)?,
    })
}

fn btrfs(head: &[u8]) -> Option<Superblock> {
    let sb = head.get(BTRFS_AT..)?;
    if sb.get(64..72)? != b"_BHRfS_M" {
        return None;
    }
    Some(Superblock {
        family: Family::Btrfs,
        size: Bytes::new(u64::from_le_bytes(array(sb, 112)?)),
        smallest_block: u32::from_le_bytes(array(sb, 144)?),
        uuid: array(sb, 32)?,
    })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parsing_never_panics(
            mut head in proptest::collection::vec(any::<u8>(), 0..3000), magic in 0..3usize
        ) {
            let (at, bytes): (usize, &[u8]) = [(0, &b"XFSB"[..]), (1080, &[0x53, 0xEF]), (0, &[])][magic];
            if let Some(place) = head.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
            let _ = Superblock::parse(&head);
        }
    }

    #[test]
    fn nothing_is_found_in_zeros_or_in_too_little() {
        assert_eq!(Superblock::parse(&[]), None);
        assert_eq!(Superblock::parse(&vec![0; READ]), None);
        assert_eq!(Superblock::parse(b"XFSB"), None);
    }
}
