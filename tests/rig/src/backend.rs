//! What a guest runs on.

mod debian;
mod kernel;
mod tcg;
mod uml;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::guest::Guest;
use crate::size::Size;

/// A kernel that can be booted.
pub(crate) struct Kernel {
    /// A program, for user-mode Linux.
    pub(crate) image: PathBuf,
    /// The folder with one folder for each release.
    pub(crate) modules: PathBuf,
    /// What it is linked with, if that is not this machine's.
    pub(crate) libraries: Option<PathBuf>,
}

/// What a guest runs on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// User-mode Linux: boots and reads fastest; no NVMe, no ALUA, no carrier.
    #[default]
    Uml,
    /// Debian's own kernel on an emulated machine: everything, slower.
    Tcg,
}

impl Backend {
    /// Why it cannot run here, if it cannot.
    pub(crate) fn available(self) -> Result<(), String> {
        if !rustix::process::geteuid().is_root() {
            return Err("guests need root".into());
        }
        if !Path::new("/dev/net/tun").exists() {
            return Err("guests need /dev/net/tun; load the module tun".into());
        }
        if self == Self::Uml && fs_size(uml::MEMORY) < LEAST_SHARED.bytes() {
            return Err(format!(
                "the memory of guests is in {}, which has less than {LEAST_SHARED}; mount a larger tmpfs there",
                uml::MEMORY
            ));
        }
        let common = [
            ("unshare", "util-linux"),
            ("ip", "iproute2"),
            ("busybox", "busybox-static"),
            ("bash", "bash"),
            ("apt-get", "apt"),
            ("dpkg", "dpkg"),
        ];
        let own: &[_] = match self {
            Self::Uml => &[],
            Self::Tcg => &[("qemu-system-x86_64", "qemu-system-x86"), ("depmod", "kmod"), ("xz", "xz-utils")],
        };
        let missing = common.iter().chain(own).find(|(program, _)| find(program).is_none());
        missing.map_or(Ok(()), |(program, package)| {
            Err(format!("`{program}` is missing; install the package {package} (scripts/packages does)"))
        })
    }

    /// What has to be there before a guest can boot, fetched and built on first use.
    pub(crate) fn prepare(self, folder: &Path) -> Result<Kernel> {
        match self {
            Self::Uml => uml::prepare(),
            Self::Tcg => kernel::prepare(folder),
        }
    }

    pub(crate) fn command(self, guest: &Guest) -> Result<Command> {
        match self {
            Self::Uml => uml::command(guest),
            Self::Tcg => tcg::command(guest),
        }
    }

    pub(crate) fn set_carrier(self, guest: &Guest, link: u8, up: bool) -> Result<()> {
        match self {
            Self::Uml => {
                bail!("user-mode Linux has no carrier to lose; use cut and join, or the backend tcg")
            }
            Self::Tcg => tcg::set_carrier(guest, link, up),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uml => "uml",
            Self::Tcg => "tcg",
        })
    }
}

impl FromStr for Backend {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "uml" => Ok(Self::Uml),
            "tcg" => Ok(Self::Tcg),
            _ => bail!("backend `{text}`: use `uml` (user-mode Linux) or `tcg` (qemu)"),
        }
    }
}

/// Enough for a few small guests.
const LEAST_SHARED: Size = Size::gib(1);

fn fs_size(folder: &str) -> u64 {
    rustix::fs::statvfs(folder).map_or(0, |system| system.f_blocks * system.f_frsize)
}

/// A program on the path, or where root's are.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places.map(|place| place.join(program)).find(|file| file.is_file())
}

/// A command for a program that may be in root's part of the path only.
fn program(name: &str) -> Command {
    Command::new(find(name).unwrap_or_else(|| name.into()))
}

/// Runs a command to its end.
fn run(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("{command:?} did not start"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
