//! Debian's kernel for an emulated machine, and what boots it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::debian::{self, Release, entries};
use super::{Kernel, find, program, run};

/// What the root of a guest is mounted with.
const MODULES: &[&str] =
    &["virtio_mmio", "virtio_net", "virtio_blk", "virtio_console", "9pnet_virtio", "9p", "overlay"];

const STAGE_ONE: &str = include_str!("../guest/initramfs.sh");

/// Where the initramfs of a rig is.
pub(super) fn initramfs(folder: &Path) -> PathBuf {
    folder.join("initramfs")
}

/// Fetches it if the cache has none, and makes the initramfs in a rig's folder.
pub(super) fn prepare(folder: &Path) -> Result<Kernel> {
    let home = debian::cached("linux-image", fetch).context("cannot get Debian's kernel")?;
    let initramfs = initramfs(folder);
    if !initramfs.exists() {
        make_initramfs(&home, &release(&home)?, &initramfs).context("cannot make an initramfs")?;
    }
    Ok(Kernel { image: home.join("vmlinux"), modules: home.join("lib/modules"), libraries: None })
}

fn fetch(folder: &Path) -> Result<String> {
    let package = debian::stands_for("linux-image-amd64")?;
    debian::unpack(Release::Own, &package, folder)?;
    let release = release(folder)?;
    run(program("depmod").arg("-b").arg(folder).arg(&release))?;
    // Uncompressed: seconds less under emulation.
    unpack(&folder.join("boot").join(format!("vmlinuz-{release}")), &folder.join("vmlinux"))?;
    Ok(package)
}

fn release(home: &Path) -> Result<String> {
    let modules = entries(&home.join("lib/modules"))?;
    let name = modules.first().and_then(|path| path.file_name()).context("the package has no modules")?;
    Ok(name.to_string_lossy().into_owned())
}

/// A bzImage is a loader with the kernel packed behind it.
fn unpack(packed: &Path, to: &Path) -> Result<()> {
    const XZ: &[u8] = b"\xfd7zXZ\0";
    let bytes = fs::read(packed).with_context(|| format!("cannot read {}", packed.display()))?;
    let at = bytes.windows(XZ.len()).position(|window| window == XZ);
    let at = at.with_context(|| format!("{} is not packed by xz", packed.display()))?;
    let payload = to.with_extension("xz");
    fs::write(&payload, &bytes[at..]).with_context(|| format!("cannot write {}", payload.display()))?;
    let out = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    let mut xz = Command::new("xz");
    // Behind it stands its length.
    let status = xz.args(["--decompress", "--stdout", "--single-stream"]).arg(&payload).stdout(out).status();
    ensure!(status.context("`xz` did not start")?.success(), "`xz` failed on {}", packed.display());
    fs::remove_file(&payload).with_context(|| format!("cannot remove {}", payload.display()))
}

fn make_initramfs(home: &Path, release: &str, to: &Path) -> Result<()> {
    let tree = to.with_extension("d");
    for folder in ["bin", "dev", "proc", "sys", "modules", "lower", "rw", "new"] {
        fs::create_dir_all(tree.join(folder))?;
    }
    let busybox = find("busybox").context("`busybox` is missing; install busybox-static")?;
    fs::copy(busybox, tree.join("bin/busybox"))?;
    fs::write(tree.join("init"), STAGE_ONE)?;
    fs::set_permissions(tree.join("init"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut order: Vec<String> = Vec::new();
    for module in MODULES {
        let mut modprobe = program("modprobe");
        let needs =
            run(modprobe.arg("-S").arg(release).arg("-d").arg(home).args(["--show-depends", module]))?;
        for file in needs.lines().filter_map(|line| line.strip_prefix("insmod ")).map(str::trim) {
            let name = file.rsplit('/').next().unwrap_or(file).to_owned();
            if !order.contains(&name) {
                fs::copy(file, tree.join("modules").join(&name))?;
                order.push(name);
            }
        }
    }
    fs::write(tree.join("modules/order"), order.join("\n") + "\n")?;
    let mut pack = Command::new("sh");
    pack.args(["-c", "find . | busybox cpio -o -H newc"]).current_dir(&tree).stdout(File::create(to)?);
    let status = pack.stderr(Stdio::null()).status().context("`sh` did not start")?;
    ensure!(status.success(), "busybox cpio failed");
    fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))
}
