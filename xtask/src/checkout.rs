//! Where things are in this checkout.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// Longest path of a folder for temporary files: unix sockets inside it must stay below 108 bytes.
const LONGEST_TEMPORARY: usize = 48;

#[derive(Debug, Clone)]
pub(crate) struct Checkout {
    pub(crate) root: PathBuf,
}

impl Checkout {
    /// The checkout this program was built from.
    pub(crate) fn find() -> Result<Self> {
        let here = std::env::var_os("CARGO_MANIFEST_DIR")
            .unwrap_or_else(|| OsString::from(env!("CARGO_MANIFEST_DIR")));
        let root = Path::new(&here).parent().context("xtask lies in no workspace")?;
        Ok(Self { root: root.to_path_buf() })
    }

    /// Everything the commands make, except caches.
    pub(crate) fn var(&self) -> PathBuf {
        self.root.join("var")
    }

    /// Executables of this checkout. Several checkouts share one build cache and overwrite each other's there.
    pub(crate) fn bin(&self, name: &str) -> PathBuf {
        self.var().join("bin").join(name)
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.var().join("log").join(format!("{name}.log"))
    }

    /// The folder tests put temporary files in: `./var/tmp`, or a short one when the checkout's path is too long
    /// for sockets.
    pub(crate) fn temporary(&self) -> PathBuf {
        let inside = self.var().join("tmp");
        if inside.as_os_str().len() <= LONGEST_TEMPORARY {
            return inside;
        }
        let hash =
            self.root.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        PathBuf::from(format!("/var/tmp/leister-{hash:016x}"))
    }

    /// The paths below which nothing may be mounted, attached or running once the commands are done.
    pub(crate) fn ours(&self) -> Vec<PathBuf> {
        vec![self.var(), self.temporary()]
    }

    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root);
        // Set for us by the cargo that started this program; a build of its own must not see it.
        for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
            cargo.env_remove(name);
        }
        cargo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_files_of_a_deep_checkout_lie_on_a_short_path() {
        let near = Checkout { root: "/srv/leister".into() };
        let deep = Checkout { root: format!("/srv/{}", "long/".repeat(30)).into() };
        assert_eq!(near.temporary(), Path::new("/srv/leister/var/tmp"));
        assert!(deep.temporary().as_os_str().len() <= LONGEST_TEMPORARY, "{}", deep.temporary().display());
    }
}
