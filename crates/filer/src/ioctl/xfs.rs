//! Project quotas and the attributes of files: `linux/dqblk_xfs.h`, `linux/quota.h`, `linux/fs.h`.
#![allow(unsafe_code, reason = "kernel calls on structures laid out as the kernel's")]

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::{Errno, Result};
use rustix::ioctl::{Getter, Setter, ioctl, opcode};

/// Nobody can change the file, or a directory's names.
pub(crate) const IMMUTABLE: u32 = 0x8;
pub(crate) const APPEND_ONLY: u32 = 0x10;
/// What is made in the directory belongs to its project.
pub(crate) const INHERIT: u32 = 0x200;

const PROJECTS: u32 = 2;
const GET: u32 = command(3);
const SET: u32 = command(4);
const STATE: u32 = command(5);
const GET_NEXT: u32 = command(9);
const HARD_BLOCKS: u16 = 1 << 3;
const PROJECTS_ENFORCED: u16 = 1 << 5;
/// Quotas are counted in these, whatever the file system's blocks are.
const BLOCK: u64 = 512;

/// What a file has beside its mode: flags, and the project it belongs to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) flags: u32,
    pub(crate) extent_size: u32,
    pub(crate) extents: u32,
    pub(crate) project: u32,
    pub(crate) cow_extent_size: u32,
    pub(crate) pad: [u8; 8],
}

/// What a project may take, and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Project {
    pub(crate) id: u32,
    /// `None`: as much as there is.
    pub(crate) limit: Option<u64>,
    pub(crate) used: u64,
}

#[repr(C)]
#[derive(Default)]
struct DiskQuota {
    version: i8,
    flags: i8,
    fields: u16,
    id: u32,
    blocks_hard: u64,
    blocks_soft: u64,
    inodes_hard: u64,
    inodes_soft: u64,
    blocks: u64,
    inodes: u64,
    timers: [i32; 2],
    warnings: [u16; 2],
    timers_high: [i8; 3],
    pad2: i8,
    realtime: [u64; 3],
    realtime_timer: i32,
    realtime_warnings: u16,
    pad3: i16,
    pad4: [u8; 8],
}

pub(crate) fn attributes(fd: impl AsFd) -> Result<Attributes> {
    // SAFETY: `Attributes` is the kernel's fsxattr, valid for any bit pattern.
    unsafe { ioctl(fd, Getter::<{ opcode::read::<Attributes>(b'X', 31) }, Attributes>::new()) }
}

pub(crate) fn set_attributes(fd: impl AsFd, attributes: Attributes) -> Result<()> {
    // SAFETY: as in `attributes`.
    unsafe { ioctl(fd, Setter::<{ opcode::write::<Attributes>(b'X', 32) }, _>::new(attributes)) }
}

/// Whether the file system holds projects to their limits.
pub(crate) fn enforces_projects(fd: impl AsFd) -> Result<bool> {
    // Larger than either version of fs_quota_stat, which both have their flags at the same place.
    let mut state = [0_u16; 128];
    match quota(fd, STATE, 0, state.as_mut_ptr().cast()) {
        Ok(()) => Ok(state[1] & PROJECTS_ENFORCED != 0),
        // No quota is on, or the kernel has none.
        Err(Errno::NOSYS | Errno::SRCH | Errno::OPNOTSUPP) => Ok(false),
        Err(e) => Err(e),
    }
}

/// One that has neither limit nor use is there as such a one.
pub(crate) fn project(fd: impl AsFd, id: u32) -> Result<Project> {
    Ok(read(fd, GET, id)?.unwrap_or(Project { id, limit: None, used: 0 }))
}

/// All that have a limit or a use, in order of id; what belongs to none is project 0.
pub(crate) fn projects(fd: impl AsFd) -> Result<Vec<Project>> {
    let mut projects = Vec::new();
    let mut from = 0;
    while let Some(project) = read(&fd, GET_NEXT, from)? {
        projects.push(project);
        match project.id.checked_add(1) {
            Some(next) if project.id >= from => from = next,
            _ => break,
        }
    }
    Ok(projects)
}

/// Limits what a project may take; `None` lifts the limit.
pub(crate) fn limit_project(fd: impl AsFd, id: u32, bytes: Option<u64>) -> Result<()> {
    let mut quota_of = DiskQuota {
        version: 1,
        flags: 2,
        fields: HARD_BLOCKS,
        id,
        blocks_hard: bytes.map_or(0, |bytes| (bytes / BLOCK).max(1)),
        ..DiskQuota::default()
    };
    quota(fd, SET, id, (&raw mut quota_of).cast())
}

fn read(fd: impl AsFd, call: u32, id: u32) -> Result<Option<Project>> {
    let mut found = DiskQuota::default();
    match quota(fd, call, id, (&raw mut found).cast()) {
        Ok(()) => Ok(Some(Project {
            id: found.id,
            limit: (found.blocks_hard > 0).then(|| found.blocks_hard.saturating_mul(BLOCK)),
            used: found.blocks.saturating_mul(BLOCK),
        })),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// `quotactl_fd`, of Linux 5.14; `data` must hold what the command reads or writes.
fn quota(fd: impl AsFd, call: u32, id: u32, data: *mut libc::c_void) -> Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the caller's structure is laid out as the kernel's for this command and outlives the call.
    let done = unsafe { libc::syscall(libc::SYS_quotactl_fd, fd, call, id, data) };
    if done == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

const fn command(number: u32) -> u32 {
    (((b'X' as u32) << 8) + number) << 8 | PROJECTS
}

const _: () = assert!(size_of::<Attributes>() == 28 && size_of::<DiskQuota>() == 112);
