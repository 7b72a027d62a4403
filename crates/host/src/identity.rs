//! Who this node is, as storage knows it.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use model::{NodeIdentity, NodeName, Topology};
use nix::net::if_::InterfaceFlags;

use crate::error::{Doing, HostError, Result};

/// Where the names of this node's initiators are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    pub initiator: PathBuf,
    pub nqn: PathBuf,
}

/// # Source
/// NVMe Base 2.0, section 4.5.
const LONGEST_NQN: usize = 223;

impl Default for IdentityFiles {
    fn default() -> Self {
        IdentityFiles {
            initiator: PathBuf::from("/etc/iscsi/initiatorname.iscsi"),
            nqn: PathBuf::from("/etc/nvme/hostnqn"),
        }
    }
}

/// What a backend needs to know of this node to let it reach a volume.
///
/// # Behavior
/// Addresses are those of interfaces that are up, without loopback and link-local ones, sorted. An initiator that is
/// not installed has no name.
///
/// # Errors
/// The interfaces cannot be listed; a file of names cannot be read or holds no name.
///
/// # Source
/// RFC 7143, section 4.2.7.1 (iSCSI names); NVMe Base 2.0, section 4.5 (NQNs).
pub fn identity(name: NodeName) -> Result<NodeIdentity> {
    identity_from(name, &IdentityFiles::default())
}

/// Gives this node an NVMe name if it has none.
///
/// # Behavior
/// Made at random and written down, with the host id that goes with it, so that it stays. Only where the kernel can
/// connect by NVMe: elsewhere nobody needs one.
///
/// # Errors
/// The file cannot be written.
///
/// # Source
/// NVMe Base 2.0, section 4.5: the form `nqn.2014-08.org.nvmexpress:uuid:…`.
pub fn ensure_nqn(files: &IdentityFiles) -> Result<()> {
    let able = ["/dev/nvme-fabrics", "/sys/module/nvme_tcp"].iter().any(|sign| Path::new(sign).exists());
    if able { make_nqn(files) } else { Ok(()) }
}

/// As [`identity`], from other files.
///
/// # Errors
/// As [`identity`].
pub fn identity_from(name: NodeName, files: &IdentityFiles) -> Result<NodeIdentity> {
    Ok(NodeIdentity {
        name,
        addresses: addresses()?,
        initiator: initiator(&files.initiator)?,
        other_initiators: Vec::new(),
        nqn: nqn(&files.nqn)?,
        topology: Topology::default(),
    })
}

fn addresses() -> Result<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs().doing(|| "list the addresses of this node".to_owned())?;
    let up = interfaces.filter(|i| {
        i.flags.contains(InterfaceFlags::IFF_UP) && !i.flags.contains(InterfaceFlags::IFF_LOOPBACK)
    });
    let addresses: BTreeSet<IpAddr> = up
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::from(a.ip())))
        })
        .filter(is_global)
        .collect();
    Ok(addresses.into_iter().collect())
}

/// Whether another machine can reach a node by it.
fn is_global(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified()),
    }
}

pub(crate) fn initiator(path: &Path) -> Result<Option<String>> {
    let Some(text) = read(path)? else { return Ok(None) };
    let name = text.lines().find_map(|line| line.trim().strip_prefix("InitiatorName=")).map(str::trim);
    let legal = |name: &&str| ["iqn.", "eui.", "naa."].iter().any(|kind| name.starts_with(kind));
    match name.filter(legal) {
        Some(name) => Ok(Some(name.to_owned())),
        None => Err(nameless(path, "has no line `InitiatorName=iqn.…`; make one with `iscsi-iname`")),
    }
}

pub(crate) fn nqn(path: &Path) -> Result<Option<String>> {
    let Some(text) = read(path)? else { return Ok(None) };
    let name = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let Some(name) = name else {
        return Err(nameless(path, "holds no `nqn.…`; remove it, and leister makes one when it starts"));
    };
    match check_nqn(name) {
        Ok(()) => Ok(Some(name.to_owned())),
        Err(problem) => Err(HostError::Invalid {
            what: "NVMe host name",
            value: name.chars().take(80).collect::<String>().escape_default().to_string(),
            problem: format!(
                "{problem}; correct {} or remove it, and leister makes one when it starts",
                path.display()
            ),
        }),
    }
}

/// What goes with the NQN, from the file beside it.
pub(crate) fn host_id(nqn: &Path) -> Result<Option<String>> {
    let path = nqn.with_file_name("hostid");
    let Some(text) = read(&path)? else { return Ok(None) };
    let id = text.trim();
    let legal = id.len() == 36 && id.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if legal { Ok(Some(id.to_owned())) } else { Err(nameless(&path, "holds no UUID; correct or remove it")) }
}

/// What is wrong with an NQN.
pub(crate) fn check_nqn(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || ".-:_+~".contains(c);
    if name.len() > LONGEST_NQN {
        return Err(format!("has {} bytes, and an NVMe name has at most {LONGEST_NQN}", name.len()));
    }
    if !name.starts_with("nqn.") || !name.chars().all(legal) {
        return Err("is no NVMe name (`nqn.…`)".to_owned());
    }
    Ok(())
}

fn make_nqn(files: &IdentityFiles) -> Result<()> {
    if files.nqn.exists() {
        return Ok(());
    }
    let doing = || format!("give this node an NVMe name in {}", files.nqn.display());
    let id = match host_id(&files.nqn)? {
        Some(id) => id,
        None => std::fs::read_to_string("/proc/sys/kernel/random/uuid").doing(doing)?.trim().to_owned(),
    };
    if let Some(directory) = files.nqn.parent() {
        std::fs::create_dir_all(directory).doing(doing)?;
    }
    // The name comes last and whole: with it all is there.
    std::fs::write(files.nqn.with_file_name("hostid"), format!("{id}\n")).doing(doing)?;
    let fresh = files.nqn.with_extension("new");
    let name = format!("nqn.2014-08.org.nvmexpress:uuid:{id}");
    std::fs::write(&fresh, format!("{name}\n")).doing(doing)?;
    std::fs::rename(&fresh, &files.nqn).doing(doing)?;
    tracing::info!(name, file = %files.nqn.display(), "this node has an NVMe name now");
    Ok(())
}

fn read(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some).doing(|| format!("read this node's name in {}", path.display())),
    }
}

fn nameless(path: &Path, problem: &str) -> HostError {
    HostError::Invalid {
        what: "file of names",
        value: path.display().to_string(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn files(initiator: Option<&str>, nqn: Option<&str>) -> (tempfile::TempDir, IdentityFiles) {
        let folder = tempfile::tempdir().unwrap();
        let files =
            IdentityFiles { initiator: folder.path().join("initiator"), nqn: folder.path().join("nqn") };
        for (path, text) in [(&files.initiator, initiator), (&files.nqn, nqn)] {
            if let Some(text) = text {
                fs::write(path, text).unwrap();
            }
        }
        (folder, files)
    }

    fn identity(initiator: Option<&str>, nqn: Option<&str>) -> Result<NodeIdentity> {
        let (_folder, files) = files(initiator, nqn);
        identity_from(NodeName::new("node1").unwrap(), &files)
    }

    #[test]
    fn names_are_read_as_their_tools_write_them() {
        let initiator =
            "## DO NOT EDIT\n# InitiatorName=iqn.old\nInitiatorName=iqn.2004-10.com.ubuntu:01:abc \n";
        let nqn = "nqn.2014-08.org.nvmexpress:uuid:1b4e28ba-2fa1-11d2-883f-0016d3cca427\n";
        let found = identity(Some(initiator), Some(nqn)).unwrap();
        assert_eq!(found.name.as_str(), "node1");
        assert_eq!(found.initiator.as_deref(), Some("iqn.2004-10.com.ubuntu:01:abc"));
        assert_eq!(found.nqn.as_deref(), Some(nqn.trim_end()));
    }

    #[test]
    fn a_node_without_initiators_has_no_such_names() {
        let found = identity(None, None).unwrap();
        assert_eq!((found.initiator, found.nqn), (None, None));
    }

    #[test]
    fn a_file_without_a_name_is_an_error_that_says_how_to_make_one() {
        let error = identity(Some("GenerateName=yes\n"), None).unwrap_err().to_string();
        assert!(error.contains("iscsi-iname"), "{error}");
        let error = identity(None, Some("\n")).unwrap_err().to_string();
        assert!(error.contains("leister makes one"), "{error}");
    }

    #[test]
    fn a_name_that_storage_would_refuse_is_refused_here() {
        let long = format!("nqn.2014-08.org.test:{}", "a".repeat(203));
        for (nqn, named) in
            [(long.as_str(), "224 bytes"), ("iqn.2014-08.a", "no NVMe name"), ("nqn.a b", "a b")]
        {
            let error = identity(None, Some(nqn)).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        assert!(identity(None, Some(&long[..223])).is_ok());
    }

    #[test]
    fn a_node_gets_an_nvme_name_once_and_keeps_it() {
        let (folder, files) = files(None, None);
        make_nqn(&files).unwrap();
        let name = nqn(&files.nqn).unwrap().unwrap();
        let id = host_id(&files.nqn).unwrap().unwrap();
        assert_eq!(name, format!("nqn.2014-08.org.nvmexpress:uuid:{id}"));
        make_nqn(&files).unwrap();
        assert_eq!(nqn(&files.nqn).unwrap(), Some(name));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn only_addresses_that_others_can_reach_are_told() {
        for (address, expected) in [
            ("10.0.0.1", true),
            ("192.0.2.7", true),
            ("fd77::1", true),
            ("2001:db8::1", true),
            ("127.0.0.1", false),
            ("169.254.3.4", false),
            ("fe80::1", false),
            ("::1", false),
        ] {
            assert_eq!(is_global(&address.parse().unwrap()), expected, "{address}");
        }
        let own = addresses().unwrap();
        assert!(own.iter().all(is_global) && own.is_sorted(), "{own:?}");
    }
}
