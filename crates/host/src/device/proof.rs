//! Our own look at a device before it may be formatted: one of the three proofs that it is blank.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;

use rustix::fs::{Advice, SeekFrom, fadvise, seek};
use rustix::io::Errno;

/// What reading a device showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    Blank,
    /// The first byte found that is not zero.
    Data {
        at: u64,
    },
}

/// A device of up to this size is read whole: a fraction of a second, once in a volume's life.
const WHOLE: u64 = 256 << 20;
/// Of a larger one, read whole at both ends. Every label this house knows lies there: partition tables (34 sectors at each end),
/// LVM (1 MiB), md 1.x and 0.9 (128 KiB at either end), ZFS (512 KiB at each end), the first LUKS2 and btrfs
/// headers, every filesystem's first superblock. 4 MiB also cover LUKS2 headers larger than usual.
const END: u64 = 4 << 20;
/// Between the ends of a device, windows of this size. What lies on a device is found by how many there are, not by how large
/// they are.
const WINDOW: u64 = 16 << 10;
/// That many of them evenly: XFS repeats its header in each of at least four allocation groups.
const WINDOWS: u64 = 256;
/// Second superblocks at fixed places: ext with 1 KiB blocks, btrfs, ext with 4 KiB blocks, btrfs again.
const PLACES: [u64; 4] = [8 << 20, 64 << 20, 128 << 20, 256 << 30];
/// What is allocated in an image is read whole up to this much; beyond, the windows have to do.
const IMAGE_LIMIT: u64 = 1 << 30;
const CHUNK: u64 = 1 << 20;

/// Looks for a byte that is not zero.
///
/// # Behavior
/// Reads a small device whole, of a larger one the head, the tail and windows between; of an image also every
/// allocated byte up to a GiB, so that in a sparse one nothing is overlooked. Writes nothing.
///
/// # Errors
/// Any read that fails or ends early: what cannot be read is not blank.
pub(crate) fn look(device: &File, size: u64, image: Option<&File>) -> io::Result<Sight> {
    if size == 0 {
        return Err(io::Error::other("the device has no size"));
    }
    let mut buffer = vec![0; usize::try_from(CHUNK).map_err(io::Error::other)?];
    // An image tells where it has something: no need to read the rest of it.
    if image.is_none() && size <= WHOLE {
        let found = first_byte(device, 0, size, &mut buffer)?;
        return Ok(found.map_or(Sight::Blank, |at| Sight::Data { at }));
    }
    let ends = [(0, END.min(size)), (size.saturating_sub(END), size)];
    let places = PLACES.into_iter().chain((1..WINDOWS).map(|n| size / WINDOWS * n));
    let windows = places.filter(|at| *at < size).map(|at| (at, (at + WINDOW).min(size)));
    let parts: Vec<(u64, u64)> = ends.into_iter().chain(windows).collect();
    // Or the kernel reads more than a window asks for.
    fadvise(device, 0, None, Advice::Random)?;
    // All are on their way at once: a device behind a network is not waited for each time.
    for (from, to) in &parts {
        fadvise(device, *from, NonZeroU64::new(to - from), Advice::WillNeed)?;
    }
    for (from, to) in parts {
        if let Some(at) = first_byte(device, from, to, &mut buffer)? {
            return Ok(Sight::Data { at });
        }
    }
    match image {
        Some(image) => look_at_allocated(image, size, &mut buffer),
        None => Ok(Sight::Blank),
    }
}

fn look_at_allocated(image: &File, size: u64, buffer: &mut [u8]) -> io::Result<Sight> {
    let mut at = 0;
    let mut budget = IMAGE_LIMIT;
    while at < size && budget > 0 {
        let from = match seek(image, SeekFrom::Data(at)) {
            Ok(from) => from,
            // No data from here to the end.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let to = seek(image, SeekFrom::Hole(from))?.min(size).min(from.saturating_add(budget));
        if let Some(at) = first_byte(image, from, to, buffer)? {
            return Ok(Sight::Data { at });
        }
        budget = budget.saturating_sub(to.saturating_sub(from));
        at = to;
    }
    Ok(Sight::Blank)
}

/// Where the first byte that is not zero lies in `from..to`.
fn first_byte(file: &File, from: u64, to: u64, buffer: &mut [u8]) -> io::Result<Option<u64>> {
    let mut at = from;
    while at < to {
        let length = usize::try_from((to - at).min(CHUNK)).map_err(io::Error::other)?;
        let chunk = &mut buffer[..length];
        file.read_exact_at(chunk, at)?;
        // Whole words first: almost always all of them are zero.
        let words = chunk.chunks_exact(8);
        let blank = words.remainder().iter().all(|b| *b == 0) && words.clone().all(|w| w == [0; 8]);
        if !blank && let Some(offset) = chunk.iter().position(|b| *b != 0) {
            return Ok(Some(at + offset as u64));
        }
        at += length as u64;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse(size: u64, bytes: &[(u64, u8)]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        for (at, byte) in bytes {
            file.write_all_at(&[*byte], *at).unwrap();
        }
        file
    }

    #[test]
    fn one_byte_anywhere_in_a_sparse_image_is_found() {
        let size = 10 << 30;
        for at in [0, 1023, END - 1, END, (5 << 30) + 12_345, size - END - 1, size - 1] {
            let file = sparse(size, &[(at, 1)]);
            assert_eq!(look(&file, size, Some(&file)).unwrap(), Sight::Data { at });
        }
    }

    #[test]
    fn allocated_zeros_and_holes_are_blank() {
        let file = sparse(64 << 20, &[(0, 0), (40 << 20, 0)]);
        assert_eq!(look(&file, 64 << 20, Some(&file)).unwrap(), Sight::Blank);
        let odd = sparse(1_000_003, &[]);
        assert_eq!(look(&odd, 1_000_003, None).unwrap(), Sight::Blank);
    }

    #[test]
    fn one_byte_anywhere_on_a_small_device_is_found() {
        for size in [24 << 20, WHOLE] {
            for at in [0, size / 3 + 1, size - END - 1, size - 1] {
                let file = sparse(size, &[(at, 1)]);
                assert_eq!(look(&file, size, None).unwrap(), Sight::Data { at });
            }
        }
    }

    #[test]
    fn both_ends_and_the_places_of_second_superblocks_are_read_on_any_device() {
        let size = 300 << 30;
        for at in [7, size - 1, size - END, 64 << 20, 128 << 20, 256 << 30] {
            let file = sparse(size, &[(at, 1)]);
            assert_eq!(look(&file, size, None).unwrap(), Sight::Data { at });
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_never_blank() {
        let file = sparse(1 << 20, &[]);
        assert!(look(&file, 2 << 20, None).is_err(), "shorter than it should be");
        assert!(look(&file, 0, None).is_err(), "no size");
        let write_only = tempfile::NamedTempFile::new().unwrap();
        let write_only = File::options().write(true).open(write_only.path()).unwrap();
        write_only.set_len(1 << 20).unwrap();
        assert!(look(&write_only, 1 << 20, None).is_err(), "not readable");
    }
}
