//! btrfs ioctls: subvolumes, snapshots, qgroups, commits. Layouts as in `linux/btrfs.h`.
#![allow(unsafe_code, reason = "ioctls on structures laid out as the kernel's")]

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::{Errno, Result};
use rustix::ioctl::{Getter, NoArg, Setter, Updater, ioctl, opcode};

/// The group that holds every thin volume and its snapshots; its limit keeps them off what thick volumes reserve.
pub(crate) const THIN_GROUP: u64 = (1 << 48) | 1;
/// The inode number every subvolume's root directory has.
pub(crate) const SUBVOLUME_INODE: u64 = 256;

const GROUP: u8 = 0x94;
const READ_ONLY: u64 = 1 << 1;
const INHERIT: u64 = 1 << 2;
const LIMIT_RFER: u64 = 1;
const ROOT_TREE: u64 = 1;
const QUOTA_TREE: u64 = 8;
const ROOT_ITEM: u32 = 132;
const QGROUP_INFO: u32 = 242;

/// The limit and group a new subvolume is born with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Birth {
    pub(crate) limit: Option<u64>,
    pub(crate) group: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct SubvolumeInfo {
    pub(crate) id: u64,
    pub(crate) created_sec: i64,
    pub(crate) created_nsec: u32,
}

/// What a subvolume refers to, as of the last commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QgroupUse {
    pub(crate) referenced: u64,
    pub(crate) exclusive: u64,
}

#[repr(C)]
struct VolArgsV2 {
    fd: i64,
    transid: u64,
    flags: u64,
    size: u64,
    inherit: u64,
    unused: [u64; 2],
    name: [u8; 4040],
}

#[repr(C)]
struct VolArgs {
    fd: i64,
    name: [u8; 4088],
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Limit {
    flags: u64,
    max_rfer: u64,
    max_excl: u64,
    rsv_rfer: u64,
    rsv_excl: u64,
}

#[repr(C)]
struct Inherit {
    flags: u64,
    groups: u64,
    ref_copies: u64,
    excl_copies: u64,
    limit: Limit,
    group: [u64; 1],
}

#[repr(C)]
struct LimitArgs {
    qgroup: u64,
    limit: Limit,
}

#[repr(C)]
struct Pair {
    first: u64,
    second: u64,
}

#[repr(C)]
struct Rescan {
    flags: u64,
    progress: u64,
    reserved: [u64; 6],
}

#[repr(C)]
struct Timespec {
    sec: u64,
    nsec: u32,
}

#[repr(C)]
struct Info {
    id: u64,
    name: [u8; 256],
    parent_dirid_generation_flags: [u64; 4],
    uuids: [[u8; 16]; 3],
    transids: [u64; 4],
    changed: Timespec,
    created: Timespec,
    sent: Timespec,
    received: Timespec,
    reserved: [u64; 8],
}

#[repr(C)]
struct Search {
    tree: u64,
    objectid: [u64; 2],
    offset: [u64; 2],
    transid: [u64; 2],
    kind: [u32; 2],
    items: u32,
    unused: u32,
    unused_more: [u64; 4],
    buffer: [u8; 3992],
}

#[repr(C)]
struct FsInfo {
    devices: [u64; 2],
    id: [u8; 16],
    rest: [u8; 992],
}

struct Found {
    objectid: u64,
    offset: u64,
    data: Vec<u8>,
}

pub(crate) fn create_subvolume(dir: impl AsFd, name: &str, birth: Birth) -> Result<()> {
    with_args(name, 0, 0, birth, |args| {
        // SAFETY: `VolArgsV2` is the kernel's btrfs_ioctl_vol_args_v2; what it points to outlives the call.
        unsafe { ioctl(dir, Setter::<{ opcode::write::<VolArgsV2>(GROUP, 24) }, _>::new(args)) }
    })
}

/// Commits the running transaction before it returns; the source's written data is part of the snapshot.
pub(crate) fn create_snapshot(
    dir: impl AsFd,
    name: &str,
    source: impl AsFd,
    read_only: bool,
    birth: Birth,
) -> Result<()> {
    let flags = if read_only { READ_ONLY } else { 0 };
    with_args(name, source.as_fd().as_raw_fd().into(), flags, birth, |args| {
        // SAFETY: as in `create_subvolume`.
        unsafe { ioctl(dir, Setter::<{ opcode::write::<VolArgsV2>(GROUP, 23) }, _>::new(args)) }
    })
}

/// Unlinks a subvolume; the kernel frees its extents in the background.
pub(crate) fn delete_subvolume(dir: impl AsFd, name: &[u8]) -> Result<()> {
    let args = VolArgs { fd: 0, name: fixed(name)? };
    // SAFETY: `VolArgs` is the kernel's btrfs_ioctl_vol_args.
    unsafe { ioctl(dir, Setter::<{ opcode::write::<VolArgs>(GROUP, 15) }, _>::new(args)) }
}

/// Lets a read-only subvolume be written, of which `fd` is the root directory.
pub(crate) fn make_writable(fd: impl AsFd) -> Result<()> {
    // SAFETY: the kernel reads one u64, the subvolume's flags.
    unsafe { ioctl(fd, Setter::<{ opcode::write::<u64>(GROUP, 26) }, u64>::new(0)) }
}

pub(crate) fn subvolume_info(fd: impl AsFd) -> Result<SubvolumeInfo> {
    // SAFETY: `Info` is the kernel's btrfs_ioctl_get_subvol_info_args, valid for any bit pattern.
    let info = unsafe { ioctl(fd, Getter::<{ opcode::read::<Info>(GROUP, 60) }, Info>::new())? };
    Ok(SubvolumeInfo {
        id: info.id,
        created_sec: info.created.sec.try_into().unwrap_or(i64::MAX),
        created_nsec: info.created.nsec,
    })
}

/// Turns full quota groups on; they count everything that exists by the time `rescan` returns.
pub(crate) fn enable_quota(fd: impl AsFd) -> Result<()> {
    let mut args = Pair { first: 1, second: 0 };
    // SAFETY: `Pair` is the kernel's btrfs_ioctl_quota_ctl_args.
    unsafe { ioctl(fd, Updater::<{ opcode::read_write::<Pair>(GROUP, 40) }, _>::new(&mut args)) }
}

/// Counts all quota groups anew and waits for the end; a count under way already is joined.
pub(crate) fn rescan(fd: impl AsFd) -> Result<()> {
    let args = Rescan { flags: 0, progress: 0, reserved: [0; 6] };
    // SAFETY: `Rescan` is the kernel's btrfs_ioctl_quota_rescan_args.
    match unsafe { ioctl(&fd, Setter::<{ opcode::write::<Rescan>(GROUP, 44) }, _>::new(args)) } {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(e) => return Err(e),
    }
    // SAFETY: takes no argument.
    unsafe { ioctl(&fd, NoArg::<{ opcode::none(GROUP, 46) }>::new()) }
}

pub(crate) fn create_qgroup(fd: impl AsFd, id: u64) -> Result<()> {
    qgroup(fd, 1, id)
}

pub(crate) fn delete_qgroup(fd: impl AsFd, id: u64) -> Result<()> {
    qgroup(fd, 0, id)
}

/// Limits what a quota group may refer to; `None` lifts the limit. Id 0 means the subvolume of `fd`.
pub(crate) fn limit_qgroup(fd: impl AsFd, id: u64, bytes: Option<u64>) -> Result<()> {
    // The kernel clears a limit whose value is all ones.
    let limit = Limit { flags: LIMIT_RFER, max_rfer: bytes.unwrap_or(u64::MAX), ..Limit::default() };
    let args = LimitArgs { qgroup: id, limit };
    // SAFETY: `LimitArgs` is the kernel's btrfs_ioctl_qgroup_limit_args.
    unsafe { ioctl(fd, Setter::<{ opcode::read::<LimitArgs>(GROUP, 43) }, _>::new(args)) }
}

/// Use of the quota groups `first..=last`, in order of id.
pub(crate) fn qgroup_uses(fd: impl AsFd, first: u64, last: u64) -> Result<Vec<(u64, QgroupUse)>> {
    let mut uses = Vec::new();
    let mut from = first;
    loop {
        let found = match search(&fd, QUOTA_TREE, [0, 0], QGROUP_INFO, [from, last]) {
            // Quotas are off.
            Err(Errno::NOENT) => return Ok(uses),
            found => found?,
        };
        let Some(end) = found.last().map(|item| item.offset) else { return Ok(uses) };
        uses.extend(found.iter().map(|item| {
            let used = QgroupUse { referenced: le64(&item.data, 8), exclusive: le64(&item.data, 24) };
            (item.offset, used)
        }));
        if end >= last {
            return Ok(uses);
        }
        from = end + 1;
    }
}

pub(crate) fn subvolume_exists(fd: impl AsFd, id: u64) -> Result<bool> {
    let found = search(&fd, ROOT_TREE, [id, id], ROOT_ITEM, [0, u64::MAX])?;
    Ok(found.iter().any(|item| item.objectid == id))
}

/// The file system's UUID.
pub(crate) fn fs_id(fd: impl AsFd) -> Result<[u8; 16]> {
    // SAFETY: `FsInfo` is the kernel's btrfs_ioctl_fs_info_args, valid for any bit pattern.
    let info = unsafe { ioctl(fd, Getter::<{ opcode::read::<FsInfo>(GROUP, 31) }, FsInfo>::new())? };
    Ok(info.id)
}

/// Makes everything done so far durable, without flushing the file data of running writers.
pub(crate) fn commit(fd: impl AsFd) -> Result<()> {
    // SAFETY: the kernel writes one u64.
    let transid = unsafe { ioctl(&fd, Getter::<{ opcode::read::<u64>(GROUP, 24) }, u64>::new())? };
    // SAFETY: the kernel reads one u64.
    unsafe { ioctl(&fd, Setter::<{ opcode::write::<u64>(GROUP, 22) }, u64>::new(transid)) }
}

fn with_args<T>(
    name: &str,
    fd: i64,
    flags: u64,
    birth: Birth,
    call: impl FnOnce(VolArgsV2) -> Result<T>,
) -> Result<T> {
    let inherit = Inherit {
        flags: u64::from(birth.limit.is_some()),
        groups: u64::from(birth.group.is_some()),
        ref_copies: 0,
        excl_copies: 0,
        limit: birth.limit.map_or(Limit::default(), |max| Limit {
            flags: LIMIT_RFER,
            max_rfer: max,
            ..Limit::default()
        }),
        group: [birth.group.unwrap_or(0)],
    };
    let size = if birth.group.is_some() { size_of::<Inherit>() } else { size_of::<Inherit>() - 8 };
    let inherits = birth.limit.is_some() || birth.group.is_some();
    call(VolArgsV2 {
        fd,
        transid: 0,
        flags: flags | if inherits { INHERIT } else { 0 },
        size: if inherits { size as u64 } else { 0 },
        inherit: if inherits { (&raw const inherit).expose_provenance() as u64 } else { 0 },
        unused: [0; 2],
        name: fixed(name.as_bytes())?,
    })
}

fn qgroup(fd: impl AsFd, create: u64, id: u64) -> Result<()> {
    let args = Pair { first: create, second: id };
    // SAFETY: `Pair` is the kernel's btrfs_ioctl_qgroup_create_args.
    unsafe { ioctl(fd, Setter::<{ opcode::write::<Pair>(GROUP, 42) }, _>::new(args)) }
}

fn search(fd: impl AsFd, tree: u64, objectid: [u64; 2], kind: u32, offset: [u64; 2]) -> Result<Vec<Found>> {
    let mut args = Search {
        tree,
        objectid,
        offset,
        transid: [0, u64::MAX],
        kind: [kind, kind],
        items: u32::MAX,
        unused: 0,
        unused_more: [0; 4],
        buffer: [0; 3992],
    };
    // SAFETY: `Search` is the kernel's btrfs_ioctl_search_args.
    unsafe { ioctl(fd, Updater::<{ opcode::read_write::<Search>(GROUP, 17) }, _>::new(&mut args))? };
    let mut found = Vec::new();
    let mut at = 0;
    for _ in 0..args.items {
        let header = &args.buffer[at..at + 32];
        let len = u32::from_le_bytes([header[28], header[29], header[30], header[31]]) as usize;
        let data = args.buffer[at + 32..at + 32 + len].to_vec();
        found.push(Found { objectid: le64(header, 8), offset: le64(header, 16), data });
        at += 32 + len;
    }
    Ok(found)
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn fixed<const N: usize>(name: &[u8]) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    if name.len() >= N.min(256) {
        return Err(Errno::NAMETOOLONG);
    }
    bytes[..name.len()].copy_from_slice(name);
    Ok(bytes)
}

const _: () = assert!(size_of::<VolArgsV2>() == 4096 && size_of::<VolArgs>() == 4096);
const _: () = assert!(size_of::<Search>() == 4096 && size_of::<Info>() == 504);
const _: () = assert!(size_of::<FsInfo>() == 1024);
