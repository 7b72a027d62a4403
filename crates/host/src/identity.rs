//! Who this machine is to a storage.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use model::{NodeIdentity, NodeName};

pub(crate) const INITIATOR: &str = "/etc/iscsi/initiatorname.iscsi";
pub(crate) const HOST_NQN: &str = "/etc/nvme/hostnqn";

/// Reads what a backend needs to know of this machine.
///
/// # Behavior
/// Addresses of global scope; the initiator's name and the host NQN where their files have one. The topology is the
/// caller's. Read anew at each call: addresses change.
pub fn identity(name: NodeName) -> NodeIdentity {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut addresses: BTreeSet<IpAddr> =
        ipv4(&text("/proc/net/fib_trie")).into_iter().map(IpAddr::V4).collect();
    addresses.extend(ipv6(&text("/proc/net/if_inet6")).into_iter().map(IpAddr::V6));
    NodeIdentity {
        addresses: addresses.into_iter().collect(),
        initiator: initiator(Path::new(INITIATOR)),
        nqn: line(Path::new(HOST_NQN)),
        ..NodeIdentity::named(name)
    }
}

/// The name in a file of open-iscsi.
pub(crate) fn initiator(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let mut names = text.lines().filter_map(|l| l.trim().strip_prefix("InitiatorName=")).map(str::trim);
    names.rfind(|n| !n.is_empty()).map(str::to_owned)
}

/// The first line of a file that has one.
pub(crate) fn line(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().map(str::trim).find(|l| !l.is_empty()).map(str::to_owned)
}

/// The kernel's own addresses: those followed by `/32 host LOCAL`.
fn ipv4(trie: &str) -> BTreeSet<Ipv4Addr> {
    let mut found = BTreeSet::new();
    let mut last = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(last.filter(|a| !a.is_loopback() && !a.is_link_local()));
        }
    }
    found
}

/// `address index prefix scope flags card`; scope 00 is global.
fn ipv6(table: &str) -> BTreeSet<Ipv6Addr> {
    let parse = |line: &str| {
        let mut fields = line.split_whitespace();
        let address = u128::from_str_radix(fields.next()?, 16).ok()?;
        let scope = fields.nth(2)?;
        (scope == "00").then(|| Ipv6Addr::from(address))
    };
    table.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_global_scope_are_read_from_the_kernels_tables() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.77.0.0\n        /24 link UNICAST\n     |-- 10.77.0.12\n        \
            /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 10.77.0.255\n        /32 link BROADCAST\n";
        assert_eq!(ipv4(trie), BTreeSet::from([Ipv4Addr::new(10, 77, 0, 12)]));
        let table = "fd77000000000000000000000000000c 02 40 00 80 eth0\nfe800000000000000000000000000001 02 40 20 80 eth0\n\
            00000000000000000000000000000001 01 80 10 80 lo\n";
        assert_eq!(ipv6(table), BTreeSet::from(["fd77::c".parse().unwrap()]));
    }

    #[test]
    fn the_last_name_of_an_initiator_counts_and_comments_do_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "# InitiatorName=iqn.a\nInitiatorName=iqn.b\n").unwrap();
        assert_eq!(initiator(file.path()).as_deref(), Some("iqn.b"));
        assert_eq!(initiator(Path::new("/nowhere")), None);
    }
}
