//! NVMe over TCP by the kernel's own files, `/dev/nvme-fabrics` and sysfs: no tool is needed.
//!
//! # Source
//! Linux 6.1: `drivers/nvme/host/fabrics.c` (what a connect is told), `drivers/nvme/host/core.c` and `multipath.c`
//! (what sysfs shows).

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use model::{NamespaceId, NvmeRoute, VolumeId};
use rustix::io::Errno;

use crate::error::{Doing, HostError, Result};
use crate::identity::{self, IdentityFiles};

const FABRICS: &str = "/dev/nvme-fabrics";
const SUBSYSTEMS: &str = "/sys/class/nvme-subsystem";
const MULTIPATH: &str = "/sys/module/nvme_core/parameters/multipath";

/// A subsystem that this node is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subsystem {
    pub(crate) nqn: String,
    directory: PathBuf,
}

/// One connection to a subsystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Controller {
    pub(crate) name: String,
    /// `address:port`, IPv6 in brackets.
    pub(crate) portal: String,
    directory: PathBuf,
}

/// # Errors
/// Names what is no subsystem, portal or namespace.
pub(crate) fn check(route: &NvmeRoute) -> Result<()> {
    let invalid = |what, value: &str, problem: String| {
        Err(HostError::Invalid { what, value: value.escape_default().to_string(), problem })
    };
    if let Err(problem) = identity::check_nqn(&route.subsystem) {
        return invalid("NVMe subsystem", &route.subsystem, format!("{problem}; correct the backend"));
    }
    if route.portals.is_empty() {
        let problem = "has no portal; see the portals of the backend".to_owned();
        return invalid("NVMe subsystem", &route.subsystem, problem);
    }
    for portal in &route.portals {
        if portal.parse::<SocketAddr>().is_err() {
            return invalid("NVMe portal", portal, "is not `address:port`; correct the backend".to_owned());
        }
    }
    let (NamespaceId::Nguid(id) | NamespaceId::Uuid(id)) = &route.namespace;
    if plain(id).len() != 32 || plain(id).chars().all(|c| c == '0') {
        return invalid("NVMe namespace", id, "is not 32 hexadecimal digits, not all 0".to_owned());
    }
    Ok(())
}

/// What a connect says of this node.
///
/// # Errors
/// The kernel cannot do it, or this node has no name.
pub(crate) fn host(volume: &VolumeId) -> Result<String> {
    let unsupported = |problem: String| Err(HostError::Unsupported { volume: volume.clone(), problem });
    if !Path::new(FABRICS).exists() || !Path::new("/sys/module/nvme_tcp").exists() {
        return unsupported(
            "this node's kernel has no NVMe over TCP; load it: `modprobe nvme-tcp`, and name it in \
             /etc/modules-load.d"
                .to_owned(),
        );
    }
    let files = IdentityFiles::default();
    let Some(nqn) = identity::nqn(&files.nqn)? else {
        let at = files.nqn.display();
        return unsupported(format!(
            "this node has no NVMe name in {at}; start leister anew, and it makes one"
        ));
    };
    let id = identity::host_id(&files.nqn)?;
    Ok(id.map_or_else(|| format!("hostnqn={nqn}"), |id| format!("hostnqn={nqn},hostid={id}")))
}

/// Connects by one portal; one that is connected is as good.
///
/// # Behavior
/// Waits in the kernel for a few seconds at most. A connection that is lost is made again for ever: what is written
/// meanwhile waits, as long as there is no other path.
pub(crate) fn connect(subsystem: &str, portal: &str, host: &str) -> Result<()> {
    let doing = || format!("connect to {subsystem} by {portal}");
    let at: SocketAddr = portal.parse().map_err(io::Error::other).doing(doing)?;
    let wish = format!(
        "transport=tcp,traddr={},trsvcid={},nqn={subsystem},{host},reconnect_delay=2,ctrl_loss_tmo=-1",
        at.ip(),
        at.port()
    );
    let mut fabrics = OpenOptions::new().read(true).write(true).open(FABRICS).doing(doing)?;
    match fabrics.write_all(wish.as_bytes()) {
        Err(e) if Errno::from_io_error(&e) == Some(Errno::ALREADY) => return Ok(()),
        Err(source) => {
            return Err(HostError::System { doing: doing(), hint: advice(&source).to_owned(), source });
        }
        Ok(()) => {}
    }
    let mut answer = String::new();
    fabrics.read_to_string(&mut answer).doing(doing).map(drop)
}

/// Whether the kernel makes one device of several paths.
pub(crate) fn has_multipath() -> bool {
    fs::read_to_string(MULTIPATH).is_ok_and(|text| text.trim() == "Y")
}

pub(crate) fn find(nqn: &str) -> Option<Subsystem> {
    list().into_iter().find(|subsystem| subsystem.nqn == nqn)
}

/// The subsystem that a device of this name is a namespace of.
pub(crate) fn of(device: &str) -> Option<Subsystem> {
    list().into_iter().find(|subsystem| subsystem.namespaces().iter().any(|name| name == device))
}

fn list() -> Vec<Subsystem> {
    let known = names(Path::new(SUBSYSTEMS)).into_iter().filter_map(|name| {
        let directory = fs::canonicalize(Path::new(SUBSYSTEMS).join(name)).ok()?;
        let nqn = value(&directory.join("subsysnqn"))?;
        Some(Subsystem { nqn, directory })
    });
    known.collect()
}

impl Subsystem {
    pub(crate) fn controllers(&self) -> Vec<Controller> {
        let known = names(&self.directory).into_iter().filter_map(|name| {
            let number = name.strip_prefix("nvme")?;
            number.parse::<u32>().ok()?;
            let directory = fs::canonicalize(self.directory.join(&name)).ok()?;
            let address = value(&directory.join("address"))?;
            let field = |key: &str| {
                address.split(',').find_map(|field| field.strip_prefix(key)?.strip_prefix('=')).map(str::trim)
            };
            let (ip, port) = (field("traddr")?.parse().ok()?, field("trsvcid")?.parse().ok()?);
            Some(Controller { name, portal: SocketAddr::new(ip, port).to_string(), directory })
        });
        known.collect()
    }

    /// The devices of its namespaces; a single path of one that has several (`nvme0c1n1`) is none.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let below = self.controllers().into_iter().map(|controller| controller.directory);
        let directories = std::iter::once(self.directory.clone()).chain(below);
        directories.flat_map(|directory| names(&directory)).filter(|name| is_namespace(name)).collect()
    }

    /// The device of a namespace.
    pub(crate) fn namespace(&self, id: &NamespaceId) -> Option<String> {
        self.namespaces()
            .into_iter()
            .find(|name| identity_of(name, id).is_some_and(|found| is_same(&found, id)))
    }

    /// Reads the namespaces and their sizes anew; the kernel does it in its own time.
    pub(crate) fn rescan(&self) -> Result<()> {
        for controller in self.controllers() {
            match fs::write(controller.directory.join("rescan_controller"), "1") {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(e).doing(|| format!("rescan {}", controller.name));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Controller {
    pub(crate) fn is_live(&self) -> bool {
        value(&self.directory.join("state")).as_deref() == Some("live")
    }

    pub(crate) fn is_by(&self, portal: &str) -> bool {
        portal.parse().is_ok_and(|portal: SocketAddr| self.portal == portal.to_string())
    }

    /// Ends the connection.
    pub(crate) fn disconnect(&self) -> Result<()> {
        match fs::write(self.directory.join("delete_controller"), "1") {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(e).doing(|| format!("disconnect {}", self.name))
            }
            _ => Ok(()),
        }
    }
}

/// What the kernel says a namespace is.
pub(crate) fn identity_of(device: &str, kind: &NamespaceId) -> Option<String> {
    let attribute = match kind {
        NamespaceId::Nguid(_) => "nguid",
        NamespaceId::Uuid(_) => "uuid",
    };
    value(&Path::new("/sys/block").join(device).join(attribute))
}

pub(crate) fn is_same(found: &str, id: &NamespaceId) -> bool {
    let (NamespaceId::Nguid(wanted) | NamespaceId::Uuid(wanted)) = id;
    plain(found) == plain(wanted)
}

/// The one spelling of 32 digits that has several.
pub(crate) fn plain(id: &str) -> String {
    id.chars().filter(char::is_ascii_hexdigit).map(|c| c.to_ascii_lowercase()).collect()
}

fn advice(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED) => "nothing listens there",
        Some(Errno::IO | Errno::CONNRESET) => {
            "the subsystem is not there or does not let this node in: see that it names this node's NQN"
        }
        Some(Errno::INVAL) => {
            "the kernel refuses this node's names: the NQN or the id in /etc/nvme is used with another one already"
        }
        _ => "",
    }
}

fn is_namespace(name: &str) -> bool {
    let numbers = name.strip_prefix("nvme").and_then(|rest| rest.split_once('n'));
    numbers.is_some_and(|(one, two)| [one, two].iter().all(|n| n.parse::<u32>().is_ok()))
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().into_string().ok()).collect()
}

fn value(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(subsystem: &str, portal: &str, id: &str) -> NvmeRoute {
        NvmeRoute {
            subsystem: subsystem.to_owned(),
            portals: vec![portal.to_owned()],
            namespace: NamespaceId::Nguid(id.to_owned()),
        }
    }

    #[test]
    fn what_is_no_subsystem_portal_or_namespace_is_named() {
        const ID: &str = "0123456789abcdef0123456789abcdef";
        check(&route("nqn.2026-01.test:a", "[fd77::b]:4420", ID)).unwrap();
        let long = format!("nqn.2026-01.test:{}", "a".repeat(224));
        for (subsystem, portal, id, named) in [
            ("a", "10.0.0.1:4420", ID, "`a`"),
            ("nqn.2026-01.test:a,hostnqn=b", "10.0.0.1:4420", ID, "hostnqn=b"),
            (&long, "10.0.0.1:4420", ID, "223"),
            ("nqn.2026-01.test:a", "10.0.0.1", ID, "10.0.0.1"),
            ("nqn.2026-01.test:a", "10.0.0.1:4420", "00", "`00`"),
            ("nqn.2026-01.test:a", "10.0.0.1:4420", "00000000000000000000000000000000", "not all 0"),
        ] {
            let error = check(&route(subsystem, portal, id)).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn a_path_of_a_namespace_is_no_namespace() {
        for (name, expected) in [
            ("nvme0n1", true),
            ("nvme10n23", true),
            ("nvme0c1n1", false),
            ("nvme0", false),
            ("nvmen1", false),
        ] {
            assert_eq!(is_namespace(name), expected, "{name}");
        }
    }

    #[test]
    fn an_identity_is_compared_in_any_spelling() {
        let id = NamespaceId::Nguid("0123456789ABCDEF0123456789abcdef".to_owned());
        assert!(is_same("01234567-89ab-cdef-0123-456789abcdef", &id));
        assert!(!is_same("11234567-89ab-cdef-0123-456789abcdef", &id));
    }
}
