//! Loop devices: `linux/loop.h`.
#![allow(unsafe_code, reason = "ioctls on structures laid out as the kernel's")]

use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Result;
use rustix::ioctl::{Getter, Ioctl, IoctlOutput, NoArg, Opcode, Setter, ioctl};

const CLEAR_FD: Opcode = 0x4C01;
const GET_STATUS: Opcode = 0x4C05;
const CONFIGURE: Opcode = 0x4C0A;
const GET_FREE: Opcode = 0x4C82;
const AUTOCLEAR: u32 = 4;

#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

#[repr(C)]
struct LoopInfo {
    device_inode_rdevice_offset_limit: [u64; 5],
    number_encryption: [u32; 3],
    flags: u32,
    names_and_key: [u8; 160],
    init: [u64; 2],
}

struct GetFree;

// SAFETY: the call takes no argument and returns a number.
unsafe impl Ioctl for GetFree {
    type Output = IoctlOutput;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        GET_FREE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> Result<IoctlOutput> {
        Ok(out)
    }
}

/// The number of a loop device nobody uses at this moment.
pub(crate) fn free_number(control: impl AsFd) -> Result<i32> {
    // SAFETY: takes no argument.
    unsafe { ioctl(control, GetFree) }
}

/// Binds `image` to the loop device; the device lets go by itself when its last user closes or unmounts it.
pub(crate) fn attach(device: impl AsFd, image: impl AsFd) -> Result<()> {
    let config = Config {
        fd: image.as_fd().as_raw_fd().cast_unsigned(),
        block_size: 0,
        info: LoopInfo {
            device_inode_rdevice_offset_limit: [0; 5],
            number_encryption: [0; 3],
            flags: AUTOCLEAR,
            names_and_key: [0; 160],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: `Config` is the kernel's loop_config.
    unsafe { ioctl(device, Setter::<CONFIGURE, _>::new(config)) }
}

/// Device and inode of the file behind a loop device.
pub(crate) fn behind(device: impl AsFd) -> Result<(u64, u64)> {
    // SAFETY: `LoopInfo` is the kernel's loop_info64.
    let info = unsafe { ioctl(device, Getter::<GET_STATUS, LoopInfo>::new()) }?;
    let [device, inode, ..] = info.device_inode_rdevice_offset_limit;
    Ok((device, inode))
}

/// Lets go of the image, at once or when the last user is gone.
pub(crate) fn detach(device: impl AsFd) -> Result<()> {
    // SAFETY: takes no argument.
    unsafe { ioctl(device, NoArg::<CLEAR_FD>::new()) }
}

const _: () = assert!(size_of::<LoopInfo>() == 232 && size_of::<Config>() == 304);
