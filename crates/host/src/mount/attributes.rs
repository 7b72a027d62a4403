//! `mount_setattr`, which rustix does not have.

#![allow(unsafe_code, reason = "a system call without a safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::mount::MountAttrFlags;

/// Gives a detached tree of mounts these attributes and takes it out of any peer group: mounts and unmounts
/// inside it shall not reach the mounts it was cloned from.
pub(crate) fn set_private(tree: impl AsFd, attributes: MountAttrFlags) -> io::Result<()> {
    let atime = MountAttrFlags::MOUNT_ATTR_NOATIME | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
    let clear =
        if attributes.intersects(atime) { u64::from(MountAttrFlags::MOUNT_ATTR__ATIME.bits()) } else { 0 };
    let wanted = libc::mount_attr {
        attr_set: u64::from(attributes.bits()),
        attr_clr: clear,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    // SAFETY: the path is a NUL-terminated constant; `wanted` is a valid mount_attr of the size given, lives
    // until the call returns, and is only read.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const wanted,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
