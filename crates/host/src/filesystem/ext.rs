use std::fs::File;
use std::io;
use std::path::Path;

use model::{Bytes, Filesystem};
use rustix::thread::{CapabilitySet, capabilities};

use super::{Superblock, Tools};
use crate::exec::{ExecError, Tool};

pub(super) fn make(tools: &Tools, filesystem: Filesystem, over_remains: bool) -> Tool {
    let name = if filesystem == Filesystem::Ext3 { "mkfs.ext3" } else { "mkfs.ext4" };
    let tool = tools.long(name).args(["-q", "-E", "nodiscard"]);
    if over_remains { tool.arg("-F") } else { tool }
}

/// Replays the journal and repairs what e2fsck holds safe without a person.
pub(super) async fn check(tools: &Tools, device: &Path) -> Result<(), ExecError> {
    const CORRECTED: [i32; 2] = [1, 2];
    let [one, with_reboot] = CORRECTED;
    let output = tools.long("e2fsck").arg("-p").path(device).accept(&[0, one, with_reboot]).run().await?;
    if output.code != 0 {
        tracing::warn!(device = %device.display(), said = %output.stdout, "e2fsck corrected the filesystem");
    }
    Ok(())
}

/// Why the kernel will not let this process grow a mounted filesystem, if so.
///
/// # Behavior
/// Only mounted ones are grown: resize2fs on an unmounted one does the work itself, and must not be killed.
pub(super) fn hindrance() -> Option<&'static str> {
    let capable = capabilities(None).is_ok_and(|c| c.effective.contains(CapabilitySet::SYS_RESOURCE));
    (!capable).then_some("the kernel grows a mounted ext filesystem only for a process with CAP_SYS_RESOURCE")
}

/// The kernel keeps the superblock of a mounted filesystem in the device's own cache.
pub(super) fn mounted_size(device: &Path) -> io::Result<Bytes> {
    let superblock = Superblock::read(&File::open(device)?)?;
    Ok(superblock.ok_or_else(|| io::Error::other("there is no superblock"))?.size)
}
