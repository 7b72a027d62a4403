//! nfsd and the services around it.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::Handle;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};

use super::below;
use super::export::{self, Export};
use crate::FilerError;
use crate::access::configfs::{directory, names, read, remove, step};
use crate::access::machine::{is_mount, kernel_has, mounted, run, runs, service, tool};
use crate::access::settings::NfsSettings;
use crate::error::{Context as _, Result};

const NFSD: &str = "/proc/fs/nfsd";
const STATE: &str = "/var/lib/nfs";
/// Where nfsdcld finds the kernel, whatever `/etc/nfs.conf` says: in Debian 12 a folder that only systemd mounts.
const PIPES: &str = "/var/lib/nfs/rpc_pipefs";
const PACKAGE: &str = "nfs-kernel-server";
/// All paths of ours begin so, where the root is ours alone.
const PREFIX: &str = "/leister";
/// Where nfs-utils reads, besides `/etc/nfs.conf`.
const CONFIG: &str = "/etc/nfs.conf.d/leister.conf";

/// How long it is waited for the kernel to let go of a directory that was exported.
const LETS_GO: Duration = Duration::from_millis(500);

/// What a place shows that was to show a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Now,
    Before,
    /// Something else: it is to be released first.
    ToOther,
}

/// The kernel's NFS server with the services around it, and what it takes for `/`.
#[derive(Debug)]
pub struct NfsServer {
    exportfs: PathBuf,
    /// Our directory in memory.
    own: PathBuf,
    /// What nfsd takes for `/`.
    root: PathBuf,
    /// How paths of ours begin, as clients see them.
    prefix: String,
    threads: u16,
    grace_seconds: u16,
}

impl NfsServer {
    /// Finds what this machine has for it, and prepares it.
    ///
    /// # Errors
    /// `Unsupported` for a kernel module or a tool that is missing, with the package that has it.
    pub fn open(wish: &NfsSettings) -> Result<NfsServer> {
        kernel_has("NFS server", &["nfsd"], Path::new("/proc/net/rpc/nfsd.export"))?;
        let exportfs = tool("exportfs", PACKAGE)?;
        tool("rpc.nfsd", PACKAGE)?;
        let (root, prefix) = roots(wish)?;
        let (threads, grace_seconds) = (wish.threads, wish.grace_seconds);
        let server = NfsServer { exportfs, own: wish.root.clone(), root, prefix, threads, grace_seconds };
        server.prepare()?;
        // Who died between a change of the table and this left the kernel with what was before.
        server.flush()?;
        Ok(server)
    }

    /// What nfsd needs, with the services around it.
    ///
    /// # Errors
    /// What does not start, or cannot be mounted.
    pub fn prepare(&self) -> Result<()> {
        mounted("nfsd", Path::new(NFSD))?;
        for folder in ["sm", "sm.bak", "v4recovery", "nfsdcld"] {
            directory(&Path::new(STATE).join(folder))?;
        }
        for table in [export::TABLE, "/var/lib/nfs/rmtab"] {
            fs::OpenOptions::new().create(true).append(true).open(table).while_doing("create", table)?;
        }
        directory(Path::new(PIPES))?;
        mounted("rpc_pipefs", Path::new(PIPES))?;
        if !is_mount(&self.own)? {
            directory(&self.own)?;
            step();
            mount("leister-nfs", &self.own, "tmpfs", MountFlags::empty(), Some(c"mode=755,size=4m"))
                .while_doing("mount", &self.own)?;
        }
        directory(&below(&self.root, &self.prefix))?;
        service("rpcbind", "rpcbind", &["-w"])?;
        service("rpc.statd", "nfs-common", &[])?;
        service("nfsdcld", PACKAGE, &["-p", PIPES])?;
        service("rpc.mountd", PACKAGE, &[])
    }

    /// Starts nfsd, unless it runs.
    ///
    /// # Errors
    /// What the kernel or its tool says.
    pub fn start(&self) -> Result<()> {
        if read(&Path::new(NFSD).join("threads"))? != "0" {
            return Ok(());
        }
        let seconds = self.grace_seconds.to_string();
        let arguments = ["--grace-time", &seconds, "--lease-time", &seconds, &self.threads.to_string()];
        run(&tool("rpc.nfsd", PACKAGE)?, &arguments.map(ToOwned::to_owned))
    }

    pub(super) fn export(&self, path: &str, clients: &[IpAddr], export: &Export) -> Result<()> {
        // `-i`: what /etc/exports says of the same path is not mixed in.
        let mut arguments = vec!["-i".to_owned(), "-o".to_owned(), export.options()];
        arguments.extend(clients.iter().map(|&client| named(client, path)));
        run(&self.exportfs, &arguments)?;
        self.flush()
    }

    /// When this returns, nfsd asks mountd before it does anything more for these clients on this path.
    pub(super) fn unexport(&self, path: &str, clients: &[IpAddr]) -> Result<()> {
        for &client in clients {
            run(&self.exportfs, &["-u".to_owned(), named(client, path)])?;
        }
        self.flush()
    }

    /// Makes the kernel forget who may do what; it asks again.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn flush(&self) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_secs());
        for cache in ["auth.unix.ip", "auth.unix.gid", "nfsd.fh", "nfsd.export"] {
            let file = Path::new("/proc/net/rpc").join(cache).join("flush");
            if file.exists() {
                fs::write(&file, format!("{now}\n")).while_doing("flush", &file)?;
            }
        }
        Ok(())
    }

    /// Makes the kernel let in whom `/etc/exports` and the files beside it name, and nobody else.
    ///
    /// # Errors
    /// What `exportfs` says.
    pub fn read_exports(&self) -> Result<()> {
        run(&self.exportfs, &["-ra".to_owned()])?;
        self.flush()
    }

    /// What nfsd takes for `/`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Shows a directory at a place below the root.
    ///
    /// # Errors
    /// `Invalid` when it is none; what the kernel says.
    pub fn bind(&self, source: &Path, place: &Path) -> Result<Bound> {
        let content = fs::metadata(source).while_doing("look at", source)?;
        if is_mount(place)? {
            let bound = fs::metadata(place).while_doing("look at", place)?;
            let is_same = (bound.dev(), bound.ino()) == (content.dev(), content.ino());
            return Ok(if is_same { Bound::Before } else { Bound::ToOther });
        }
        if !content.is_dir() {
            return Err(FilerError::Invalid(format!("{} is no directory", source.display())));
        }
        directory(place)?;
        step();
        mount_bind(source, place).while_doing("bind", place)?;
        let flags = MountFlags::BIND | MountFlags::NODEV | MountFlags::NOSUID;
        mount_remount(place, flags, "").while_doing("restrict", place)?;
        Ok(Bound::Now)
    }

    /// Lets go of a directory, which may be replaced or removed then. Its exports are to be gone before.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn release(&self, place: &Path) -> Result<bool> {
        let begin = Instant::now();
        while is_mount(place)? {
            step();
            match unmount(place, UnmountFlags::NOFOLLOW) {
                // A request under way, or the cache of exports, holds it for a moment.
                Err(rustix::io::Errno::BUSY) if begin.elapsed() < LETS_GO => {
                    self.flush()?;
                    pause();
                }
                // nfsd keeps files open for a while that clients have closed. Nobody can reach them.
                Err(rustix::io::Errno::BUSY) => {
                    unmount(place, UnmountFlags::DETACH).while_doing("detach", place)?;
                }
                done => done.while_doing("unmount", place)?,
            }
        }
        remove(place)
    }

    /// Who has an export of ours.
    pub(super) fn clients_of_ours(&self) -> Result<BTreeSet<IpAddr>> {
        Ok(export::clients_below(&self.prefix)?.into_iter().collect())
    }

    /// Ends what an NFSv4 client has open and locked, so that it is in nobody's way.
    pub(super) fn expire(&self, client: IpAddr) -> Result<()> {
        let clients = Path::new(NFSD).join("clients");
        for name in names(&clients)? {
            let folder = clients.join(&name);
            // It may leave by itself meanwhile.
            let Ok(info) = fs::read_to_string(folder.join("info")) else { continue };
            if address_of(&info) == Some(client) {
                step();
                match fs::write(folder.join("ctl"), "expire\n") {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound && folder.exists() => {
                        return Err(error).while_doing("expire", &folder);
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    pub(super) fn path(&self, handle: &Handle) -> String {
        format!("{}/{handle}", self.prefix)
    }

    pub(super) fn place(&self, path: &str) -> PathBuf {
        below(&self.root, path)
    }
}

/// The kernel does not say when it lets go; it is asked again.
#[allow(clippy::disallowed_methods, reason = "these calls block, and there is nothing to wait on")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// What nfsd takes for `/`, and how our paths begin.
///
/// # Behavior
/// NFSv4 walks from `/`, which then must be exportable; an overlay is not. So, unless somebody has chosen a root or
/// has exports whose paths would change their meaning, nfsd gets our directory in memory for its root.
fn roots(wish: &NfsSettings) -> Result<(PathBuf, String)> {
    let own = wish.root.to_string_lossy().into_owned();
    match configured_root()? {
        Some(root) => Ok((root, PREFIX.to_owned())),
        None if runs("rpc.mountd") || has_foreign()? => Ok((PathBuf::from("/"), own)),
        None => {
            let config = Path::new(CONFIG);
            directory(Path::new("/etc/nfs.conf.d"))?;
            step();
            fs::write(config, format!("[exports]\nrootdir={own}\n")).while_doing("write", config)?;
            Ok((wish.root.clone(), PREFIX.to_owned()))
        }
    }
}

fn has_foreign() -> Result<bool> {
    let wished = fs::read_to_string("/etc/exports").unwrap_or_default();
    let is_wish = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    Ok(wished.lines().any(is_wish) || export::has_foreign(PREFIX)?)
}

/// `rootdir` in the configuration of nfs-utils; the last one counts.
fn configured_root() -> Result<Option<PathBuf>> {
    let folder = Path::new("/etc/nfs.conf.d");
    let mut files: Vec<PathBuf> = names(folder)?.iter().map(|name| folder.join(name)).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "conf"));
    files.sort();
    files.insert(0, PathBuf::from("/etc/nfs.conf"));
    let mut root = None;
    for file in files {
        let mut section = String::new();
        for line in fs::read_to_string(file).unwrap_or_default().lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                name.trim().clone_into(&mut section);
            } else if let ("exports", Some((key, value))) = (section.as_str(), line.split_once('='))
                && key.trim() == "rootdir"
            {
                root = Some(PathBuf::from(value.trim()));
            }
        }
    }
    Ok(root)
}

/// As `exportfs` wants it.
fn named(client: IpAddr, path: &str) -> String {
    match client {
        IpAddr::V4(address) => format!("{address}:{path}"),
        IpAddr::V6(address) => format!("[{address}]:{path}"),
    }
}

/// From a line such as `address: "10.0.0.1:745"` or `address: "[fd00::1]:745"`.
fn address_of(info: &str) -> Option<IpAddr> {
    let line = info.lines().find_map(|line| line.strip_prefix("address:"))?;
    line.trim().trim_matches('"').parse::<std::net::SocketAddr>().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_known_by_its_address() {
        for (info, wanted) in [
            ("clientid: 0x1\naddress: \"10.77.0.12:745\"\nname: \"x\"\n", "10.77.0.12"),
            ("address: \"[fd77::c]:745\"\n", "fd77::c"),
        ] {
            assert_eq!(address_of(info), Some(wanted.parse().unwrap()));
        }
        assert_eq!(address_of("name: \"10.77.0.12:745\"\n"), None);
    }
}
