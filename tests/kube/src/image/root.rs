//! The product's own image: a small Debian with the tools that a node uses, and the program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Image, LIMIT, layer, write};
use docker_suite::{find, run_within};
use go_suite::{cache, lock};

/// How the root is made. Another text makes another root.
const RECIPE: &str = include_str!("root.sh");
/// Where pods of a cluster find it, and what the chart says.
const REPOSITORY: &str = "leister.io/leister";
/// Nobody's on a Debian; the chart has it too.
const USER: &str = "65532:65532";

/// The image of one program.
pub struct Product {
    pub name: String,
    program: PathBuf,
}

impl Product {
    /// With the program of this version.
    pub fn new(program: &Path) -> Self {
        Self { name: format!("{REPOSITORY}:{}", env!("CARGO_PKG_VERSION")), program: program.into() }
    }

    /// Writes an archive that `ctr images import` and `docker load` take.
    ///
    /// # Behavior
    /// The root is made once a user, by `mmdebstrap` from Debian's archive, and kept in the cache.
    ///
    /// # Errors
    /// `mmdebstrap` is not installed or cannot reach Debian's archive, or there is no space.
    pub fn write(&self, archive: &Path) -> Result<()> {
        let folder = tempfile::Builder::new().prefix("image-").tempdir()?;
        let image = self.image(folder.path())?;
        write(&folder.path().join("archive"), archive, &[image])
    }

    /// Its layers lie in a folder.
    pub(crate) fn image(&self, folder: &Path) -> Result<Image> {
        let root = folder.join("leister");
        let program = root.join("usr/bin/leister");
        fs::create_dir_all(root.join("usr/bin"))?;
        let mut strip = Command::new("strip");
        run_within(strip.arg("-o").arg(&program).arg(&self.program), LIMIT)?.ok()?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        let archive = folder.join("leister.tar");
        layer(&root, ".", &archive)?;
        Ok(Image {
            name: self.name.clone(),
            layers: vec![debian()?, archive],
            config: json!({
                "User": USER,
                "Entrypoint": ["/usr/bin/leister"],
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            }),
        })
    }
}

/// The root, made now where it is not there yet.
fn debian() -> Result<PathBuf> {
    let cache = cache()?;
    let archive = cache.join(format!("root-{:016x}.tar", crate::programs::fingerprint(RECIPE.as_bytes())));
    // Two runs at once make it once.
    let _alone = lock(&cache, "root")?;
    if !archive.exists() {
        find("mmdebstrap").context("mmdebstrap is not installed")?;
        // In place only when it is whole.
        let fresh = archive.with_extension("new.tar");
        let mut make = Command::new("sh");
        run_within(make.args(["-c", RECIPE, "root"]).arg(&fresh), LIMIT)?.ok()?;
        fs::rename(&fresh, &archive)?;
    }
    Ok(archive)
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "skips are printed")]
mod tests {
    use super::*;

    #[test]
    fn the_root_has_what_a_node_runs_and_no_name_of_a_machine() -> Result<()> {
        if find("mmdebstrap").is_none() {
            println!("skipped: mmdebstrap is not installed");
            return Ok(());
        }
        let listed = run_within(Command::new("tar").arg("-tf").arg(debian()?), LIMIT)?.ok()?;
        let has = |file: &str| listed.lines().any(|line| line.trim_start_matches("./") == file);
        for tool in [
            "sbin/mount.nfs",
            "sbin/iscsiadm",
            "sbin/multipath",
            "sbin/multipathd",
            "sbin/cryptsetup",
            "sbin/blkid",
            "sbin/mkfs.ext4",
            "sbin/resize2fs",
            "sbin/mkfs.xfs",
            "sbin/xfs_growfs",
            "bin/btrfs",
            "sbin/losetup",
            "bin/mount",
        ] {
            anyhow::ensure!(has(tool) || has(&format!("usr/{tool}")), "{tool} is not in the root");
        }
        for name in ["etc/iscsi/initiatorname.iscsi", "etc/nvme/hostnqn", "etc/nvme/hostid", "etc/machine-id"]
        {
            anyhow::ensure!(!has(name), "{name} would be the same on all nodes");
        }
        Ok(())
    }
}
