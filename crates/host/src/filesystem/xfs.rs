#![allow(unsafe_code, reason = "an ioctl without a safe wrapper")]

use std::fs::File;
use std::io;
use std::path::Path;

use model::Bytes;
use rustix::ioctl::{Getter, Opcode, ioctl, opcode};

use super::Tools;
use crate::exec::Tool;

/// The start of `struct xfs_fsop_geom_v1`; the rest is of no interest.
#[repr(C)]
struct Geometry {
    block_size: u32,
    _before: [u32; 7],
    data_blocks: u64,
    _after: [u64; 9],
}

/// XFS_IOC_FSGEOMETRY_V1, which every kernel has.
const GEOMETRY: Opcode = opcode::read::<Geometry>(b'X', 100);

pub(super) fn make(tools: &Tools, over_remains: bool) -> Tool {
    let tool = tools.long("mkfs.xfs").args(["-q", "-K"]);
    if over_remains { tool.arg("-f") } else { tool }
}

pub(super) fn mounted_size(point: &Path) -> io::Result<Bytes> {
    let directory = File::open(point)?;
    // SAFETY: the call writes one `struct xfs_fsop_geom_v1`, whose size and layout `Geometry` has.
    let geometry = unsafe { ioctl(directory, Getter::<GEOMETRY, Geometry>::new()) }?;
    Ok(Bytes::new(u64::from(geometry.block_size) * geometry.data_blocks))
}

const _: () = assert!(size_of::<Geometry>() == 112);
