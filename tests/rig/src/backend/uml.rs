//! User-mode Linux: a kernel that is a process.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::program;
use crate::guest::Guest;
use crate::namespace::open_fifo;
use crate::network::{LINKS, mac, tap};

/// Where Debian's package has them.
pub(super) const MODULES: &str = "/usr/lib/uml/modules";

/// Where a guest's memory is a file.
pub(super) const MEMORY: &str = "/dev/shm";

const STAGE_ONE: &str = include_str!("../guest/uml.sh");

pub(super) fn command(guest: &Guest) -> Result<Command> {
    let share = guest.share();
    let init = share.join("uml-init");
    std::fs::write(&init, STAGE_ONE)
        .and_then(|()| std::fs::set_permissions(&init, std::fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", init.display()))?;
    let mut uml = program("linux.uml");
    uml.arg(format!("mem={}M", guest.spec.memory.bytes() >> 20));
    uml.args(["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet"]);
    uml.arg(format!("init={}", init.display())).arg(format!("rig={}", share.display()));
    uml.arg(format!("umid={}", guest.number)).arg(format!("uml_dir={}", guest.sockets().display()));
    // The console goes to where our output goes, commands come from where our input comes from.
    uml.args(["con=null", "con0=null,fd:1", "ssl=null", "ssl0=fd:0,null"]);
    for link in LINKS {
        let (tap, mac) = (tap(link, guest.number), mac(link, guest.number));
        uml.arg(format!("vec{link}:transport=tap,ifname={tap},gro=1,mac={mac}"));
    }
    for (at, image) in guest.disk_images().iter().enumerate() {
        uml.arg(format!("ubd{at}={}", image.display()));
    }
    uml.env("TMPDIR", MEMORY);
    uml.stdin(open_fifo(&guest.control())?);
    Ok(uml)
}
