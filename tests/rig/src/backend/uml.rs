//! User-mode Linux: a kernel that is a process.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::Kernel;
use super::debian::{self, Release};
use crate::guest::Guest;
use crate::namespace::open_fifo;
use crate::network::{LINKS, mac, tap};

/// From Linux 6.16 on it leads its processes by seccomp, before by tracing them: what they ask of the kernel takes a
/// third of the time. No release of Debian before this one has that.
const NEW_ENOUGH: Release = Release::Named("forky");

const PROGRAM: &str = "usr/bin/linux.uml";

/// What the new one is linked with, since the libraries of this machine are too old for it.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// Where Linux looks for the loader of a program, and where this one's is: in the folder that it is started in.
const LOADER: [&[u8]; 2] = [b"/lib64/ld-linux-x86-64.so.2\0", b"ld-linux-x86-64.so.2\0\0\0\0\0\0\0\0"];

/// Where a guest's memory is a file.
pub(super) const MEMORY: &str = "/dev/shm";

const STAGE_ONE: &str = include_str!("../guest/uml.sh");

/// Fetches it if the cache has none.
pub(super) fn prepare() -> Result<Kernel> {
    let home = debian::cached("user-mode-linux", |folder| {
        fetch_new(folder).or_else(|error| {
            debian::empty(folder)?;
            crate::evidence::tell(&format!(
                "the user-mode Linux of this machine's release has to do, which is slow: {error:#}"
            ));
            debian::unpack(Release::Own, "user-mode-linux", folder)
        })
    });
    let home = home.context("cannot get Debian's user-mode Linux")?;
    let libraries = Some(home.join(LIBRARIES)).filter(|libraries| libraries.exists());
    Ok(Kernel { image: home.join(PROGRAM), modules: home.join("usr/lib/uml/modules"), libraries })
}

fn fetch_new(folder: &Path) -> Result<String> {
    debian::unpack(NEW_ENOUGH, "libc6", folder)?;
    let name = debian::unpack(NEW_ENOUGH, "user-mode-linux", folder)?;
    let program = folder.join(PROGRAM);
    let mut bytes = fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    let [there, here] = LOADER;
    let at = bytes.windows(there.len()).position(|window| window == there);
    let at = at.with_context(|| format!("{} has another loader", program.display()))?;
    bytes[at..at + here.len()].copy_from_slice(here);
    fs::write(&program, bytes).with_context(|| format!("cannot write {}", program.display()))?;
    Ok(name)
}

pub(super) fn command(guest: &Guest) -> Result<Command> {
    let share = guest.share();
    let init = share.join("uml-init");
    fs::write(&init, STAGE_ONE)
        .and_then(|()| fs::set_permissions(&init, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot write {}", init.display()))?;
    let kernel = &guest.world.kernel;
    let mut uml = Command::new(&kernel.image);
    if let Some(libraries) = &kernel.libraries {
        uml.current_dir(libraries).env("LD_LIBRARY_PATH", libraries);
    } else {
        uml.current_dir("/");
    }
    uml.arg("seccomp=auto");
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
