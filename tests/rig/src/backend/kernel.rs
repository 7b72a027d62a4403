//! Debian's kernel, fetched by apt once for each user and kept in the cache; and what boots it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::{find, program};

/// What the root of a guest is mounted with.
const MODULES: &[&str] =
    &["virtio_mmio", "virtio_net", "virtio_blk", "virtio_console", "9pnet_virtio", "9p", "overlay"];

const STAGE_ONE: &str = include_str!("../guest/initramfs.sh");

/// A kernel that can be booted.
pub(crate) struct Kernel {
    /// Uncompressed: seconds less under emulation.
    pub(crate) vmlinux: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// The folder with one folder for each release.
    pub(crate) modules: PathBuf,
}

impl Kernel {
    /// Fetches it if the cache has none, and makes the initramfs in a rig's folder.
    pub(crate) fn prepare(folder: &Path) -> Result<Self> {
        let cache = cache()?;
        fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
        let lock = File::create(cache.join("lock")).context("cannot lock the cache of kernels")?;
        // Two rigs that start at once fetch it once.
        lock.lock().context("cannot lock the cache of kernels")?;
        let home = match newest(&cache) {
            Some(home) => home,
            None => fetch(&cache).context("cannot get Debian's kernel")?,
        };
        drop(lock);
        let release = release(&home)?;
        let initramfs = folder.join("initramfs");
        if !initramfs.exists() {
            make_initramfs(&home, &release, &initramfs).context("cannot make an initramfs")?;
        }
        Ok(Self { vmlinux: home.join("vmlinux"), initramfs, modules: home.join("lib/modules") })
    }
}

/// `$XDG_CACHE_HOME/leister/kernel`, so that a fresh checkout fetches nothing again.
fn cache() -> Result<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache =
        std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from).or_else(home);
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME is set; set one")?.join("leister/kernel"))
}

/// A complete one; what is being made has another name.
fn newest(cache: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(cache).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    entries
        .filter(|path| path.join("vmlinux").exists() && path.extension().is_none_or(|end| end != "part"))
        .max()
}

fn fetch(cache: &Path) -> Result<PathBuf> {
    let package = package().or_else(|_| {
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        package()
    })?;
    let (part, home) = (cache.join(format!("{package}.part")), cache.join(&package));
    if part.exists() {
        fs::remove_dir_all(&part).with_context(|| format!("cannot remove {}", part.display()))?;
    }
    fs::create_dir_all(&part).with_context(|| format!("cannot make {}", part.display()))?;
    let download = || run(Command::new("apt-get").args(["download", "-qq", &package]).current_dir(&part));
    // Lists that are old name a package that is no more.
    download().or_else(|_| run(Command::new("apt-get").args(["update", "-qq"])).and_then(|_| download()))?;
    let deb = entries(&part)?.into_iter().find(|path| path.extension().is_some_and(|end| end == "deb"));
    let deb = deb.context("apt-get downloaded nothing")?;
    run(Command::new("dpkg").arg("-x").arg(&deb).arg(&part))?;
    fs::remove_file(&deb).with_context(|| format!("cannot remove {}", deb.display()))?;
    let release = release(&part)?;
    run(program("depmod").arg("-b").arg(&part).arg(&release))?;
    unpack(&part.join("boot").join(format!("vmlinuz-{release}")), &part.join("vmlinux"))?;
    fs::rename(&part, &home).with_context(|| format!("cannot rename {}", part.display()))?;
    Ok(home)
}

/// What `linux-image-amd64` stands for today.
fn package() -> Result<String> {
    let said = run(Command::new("apt-cache").args(["depends", "linux-image-amd64"]))?;
    let found = said.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    found.map(str::to_owned).context("apt knows no linux-image-amd64")
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

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    Ok(entries.filter_map(Result::ok).map(|entry| entry.path()).collect())
}

fn run(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("{command:?} did not start"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
