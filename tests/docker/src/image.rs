//! The one image the containers use: a static busybox, with its commands as links.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::said::{find, run};

/// Writes the image's files to a tar archive.
pub(crate) fn write(folder: &Path, archive: &Path) -> Result<()> {
    let busybox = find("busybox").context("busybox is not installed")?;
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin)?;
    std::fs::create_dir_all(folder.join("tmp"))?;
    std::fs::copy(&busybox, bin.join("busybox")).context("cannot copy busybox")?;
    let applets = run(Command::new(&busybox).arg("--list"))?.ok()?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        std::os::unix::fs::symlink("busybox", bin.join(applet))?;
    }
    run(Command::new("tar").arg("-C").arg(folder).arg("-cf").arg(archive).arg("."))?.ok()?;
    Ok(())
}
