//! The loop driver's calls (`linux/loop.h`).

#![allow(unsafe_code, reason = "ioctls without safe wrappers")]

use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::{Errno, Result};
use rustix::ioctl::{Getter, Ioctl, IoctlOutput, NoArg, Opcode, Setter, ioctl};

/// What the kernel keeps about an attached device.
#[derive(Debug)]
pub(super) struct Status {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) name: String,
    pub(super) read_only: bool,
    pub(super) autoclear: bool,
    /// Neither an offset nor a limit: the device is all of the file.
    pub(super) whole: bool,
}

const LOOP_CLR_FD: Opcode = 0x4C01;
const LOOP_SET_STATUS64: Opcode = 0x4C04;
const LOOP_GET_STATUS64: Opcode = 0x4C05;
const LOOP_SET_CAPACITY: Opcode = 0x4C07;
const LOOP_CONFIGURE: Opcode = 0x4C0A;
const LOOP_CTL_GET_FREE: Opcode = 0x4C82;

const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;
const DIRECT_IO: u32 = 16;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

pub(super) fn free_number(control: impl AsFd) -> Result<u32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument and answers with its return value.
    unsafe { ioctl(control, GetFree) }
}

/// Direct I/O is asked for; the kernel leaves it out where the backing filesystem cannot do it.
pub(super) fn configure(
    device: impl AsFd,
    backing: impl AsFd,
    name: &str,
    block_size: u32,
    read_only: bool,
) -> Result<()> {
    let mut info = Info {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: DIRECT_IO | if read_only { READ_ONLY } else { 0 },
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    };
    let name = name.as_bytes();
    info.file_name.get_mut(..name.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(name);
    let fd = u32::try_from(backing.as_fd().as_raw_fd()).map_err(|_| Errno::BADF)?;
    let config = Config { fd, block_size, info, reserved: [0; 8] };
    // SAFETY: LOOP_CONFIGURE reads one `struct loop_config`, whose layout `Config` has.
    unsafe { ioctl(device, Setter::<LOOP_CONFIGURE, Config>::new(config)) }
}

pub(super) fn status(device: impl AsFd) -> Result<Status> {
    let info = info(device)?;
    let end = info.file_name.iter().position(|b| *b == 0).unwrap_or(info.file_name.len());
    Ok(Status {
        device: info.device,
        inode: info.inode,
        name: String::from_utf8_lossy(&info.file_name[..end]).into_owned(),
        read_only: info.flags & READ_ONLY != 0,
        autoclear: info.flags & AUTOCLEAR != 0,
        whole: info.offset == 0 && info.size_limit == 0,
    })
}

pub(super) fn set_staying(device: impl AsFd) -> Result<()> {
    let mut info = info(device.as_fd())?;
    info.flags &= !AUTOCLEAR;
    // SAFETY: LOOP_SET_STATUS64 reads one `struct loop_info64`, whose layout `Info` has.
    unsafe { ioctl(device, Setter::<LOOP_SET_STATUS64, Info>::new(info)) }
}

pub(super) fn set_capacity(device: impl AsFd) -> Result<()> {
    // SAFETY: LOOP_SET_CAPACITY ignores its argument.
    unsafe { ioctl(device, NoArg::<LOOP_SET_CAPACITY>::new()) }
}

pub(super) fn clear(device: impl AsFd) -> Result<()> {
    // SAFETY: LOOP_CLR_FD ignores its argument.
    unsafe { ioctl(device, NoArg::<LOOP_CLR_FD>::new()) }
}

fn info(device: impl AsFd) -> Result<Info> {
    // SAFETY: LOOP_GET_STATUS64 writes one `struct loop_info64`, whose layout `Info` has.
    unsafe { ioctl(device, Getter::<LOOP_GET_STATUS64, Info>::new()) }
}

struct GetFree;

// SAFETY: the call takes no pointer; its return value is the number of a device.
unsafe impl Ioctl for GetFree {
    type Output = u32;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> Result<u32> {
        u32::try_from(out).map_err(|_| Errno::INVAL)
    }
}

const _: () = assert!(size_of::<Info>() == 232 && size_of::<Config>() == 304);
