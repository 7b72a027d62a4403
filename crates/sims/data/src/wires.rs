//! What the machine shall serve for the array's state, and at which addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;
use sim_ontap::State;
use sim_ontap::record::{flag, number, text};

use crate::content::handle_of_qtree;

/// Everything that is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wires {
    /// Each interface's address, and whether it is up.
    pub(crate) addresses: BTreeMap<IpAddr, bool>,
    /// By their path, so that what lies in another comes after it.
    pub(crate) shares: BTreeMap<String, Share>,
    /// By their names.
    pub(crate) targets: BTreeMap<String, Target>,
    /// By their NQNs.
    pub(crate) subsystems: BTreeMap<String, Subsystem>,
}

/// A directory that is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) handle: String,
    /// 32 hexadecimal digits.
    pub(crate) fsid: String,
    /// Who may mount it, and how, as `exports` has both.
    pub(crate) clients: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) portals: BTreeSet<IpAddr>,
    /// By the handle of their content.
    pub(crate) units: BTreeMap<String, Unit>,
    /// By the initiator's name.
    pub(crate) initiators: BTreeMap<String, Initiator>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) serial: String,
    pub(crate) size: u64,
}

#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Initiator {
    /// User and password: what it must prove, and what the target proves.
    pub(crate) inbound: Option<(String, String)>,
    pub(crate) outbound: Option<(String, String)>,
    /// What it sees, by the number that it sees it under.
    pub(crate) units: BTreeMap<u64, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subsystem {
    pub(crate) serial: String,
    pub(crate) portals: BTreeSet<IpAddr>,
    pub(crate) hosts: BTreeSet<String>,
    /// UUIDs of namespaces, which are the handles of their content, by their numbers.
    pub(crate) namespaces: BTreeMap<u64, String>,
}

/// What shall be served.
pub(crate) fn of(state: &State) -> Wires {
    let mut wires = Wires::default();
    for interface in state.list("interfaces") {
        if let Some(address) = address(interface) {
            wires.addresses.insert(address, is_up(interface));
        }
    }
    for volume in state.list("volumes") {
        add_shares(&mut wires, state, volume);
    }
    for service in state.list("iscsi_services").filter(|service| runs(state, service)) {
        if let Some(name) = text(service, "target.name") {
            wires.targets.insert(name.to_owned(), target(state, service));
        }
    }
    for own in state.list("nvme_subsystems") {
        let service = text(own, "svm.uuid").and_then(|svm| state.find("nvme_services", svm));
        if let (Some(nqn), Some(service)) = (text(own, "target_nqn"), service)
            && runs(state, service)
        {
            wires.subsystems.insert(nqn.to_owned(), subsystem(state, own));
        }
    }
    wires
}

impl Wires {
    /// Whether a client may use this content.
    pub(crate) fn serve(&self, handle: &str) -> bool {
        let is_unit = |target: &Target| {
            target.initiators.values().any(|initiator| initiator.units.values().any(|own| own == handle))
        };
        self.shares.values().any(|share| share.handle == handle)
            || self.targets.values().any(is_unit)
            || self.subsystems.values().any(|own| own.namespaces.values().any(|own| own == handle))
    }

    /// The same without some content, which is about to be replaced.
    pub(crate) fn without(&self, handles: &BTreeSet<&str>) -> Wires {
        let mut less = self.clone();
        less.shares.retain(|_, share| !handles.contains(share.handle.as_str()));
        for target in less.targets.values_mut() {
            target.units.retain(|handle, _| !handles.contains(handle.as_str()));
            for initiator in target.initiators.values_mut() {
                initiator.units.retain(|_, handle| !handles.contains(handle.as_str()));
            }
        }
        for subsystem in less.subsystems.values_mut() {
            subsystem.namespaces.retain(|_, handle| !handles.contains(handle.as_str()));
        }
        less
    }
}

// Not derived: it holds passwords.
impl std::fmt::Debug for Initiator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Initiator").field("units", &self.units).finish_non_exhaustive()
    }
}

fn add_shares(wires: &mut Wires, state: &State, volume: &Value) {
    let uuid = text(volume, "uuid").unwrap_or_default();
    let service = text(volume, "svm.uuid").and_then(|svm| state.find("nfs_services", svm));
    let served = service.is_some_and(|service| runs(state, service)) && volume["state"] == "online";
    // The root of all junctions holds nothing of its own here: nfsd makes it up.
    let Some(path) = text(volume, "nas.path").filter(|path| served && *path != "/") else { return };
    let digits: String = uuid.chars().filter(char::is_ascii_hexdigit).collect();
    let share = |handle: &str, fsid: String, policy: &Value| Share {
        handle: handle.to_owned(),
        clients: clients(state, policy, &fsid),
        fsid,
    };
    wires.shares.insert(path.to_owned(), share(uuid, digits.clone(), &volume["nas"]["export_policy"]));
    for (_, qtree) in state.entries("qtrees", &format!("{uuid}/")) {
        let (Some(handle), Some(name)) = (handle_of_qtree(qtree, uuid), text(qtree, "name")) else {
            continue;
        };
        let own = number(qtree, "_number").unwrap_or(0);
        let fsid = format!("{}{own:08x}{}", &digits[..12], &digits[20..]);
        wires.shares.insert(format!("{path}/{name}"), share(&handle, fsid, &qtree["export_policy"]));
    }
}

/// Each client once: the first rule that names it counts.
fn clients(state: &State, policy: &Value, fsid: &str) -> Vec<(String, String)> {
    let Some(id) = policy["id"].as_u64() else { return Vec::new() };
    let mut rules: Vec<&Value> =
        state.entries("export_rules", &format!("{id}/")).map(|(_, own)| own).collect();
    rules.sort_by_key(|rule| rule["index"].as_u64());
    let mut clients: Vec<(String, String)> = Vec::new();
    for rule in rules {
        let allows = |field: &str| {
            let known = rule[field].as_array().into_iter().flatten();
            known.filter_map(Value::as_str).any(|security| matches!(security, "any" | "sys"))
        };
        let how = match (allows("rw_rule"), allows("ro_rule")) {
            (true, true) => "rw",
            (false, true) => "ro",
            (_, false) => continue,
        };
        let root = if allows("superuser") { "no_root_squash" } else { "root_squash" };
        // `mountpoint`: never the empty directory below a volume that is not there.
        let options = format!("{how},sync,no_subtree_check,{root},sec=sys,mountpoint,fsid={fsid}");
        let matches = rule["clients"].as_array().into_iter().flatten();
        for client in matches.filter_map(|client| text(client, "match")) {
            let client = match client.strip_prefix('.') {
                Some(domain) => format!("*.{domain}"),
                None if client == "0.0.0.0/0" => "*".to_owned(),
                None => client.to_owned(),
            };
            if !clients.iter().any(|(known, _)| *known == client) {
                clients.push((client, options.clone()));
            }
        }
    }
    clients
}

fn target(state: &State, service: &Value) -> Target {
    let svm = text(service, "svm.uuid").unwrap_or_default();
    let mut target = Target { portals: portals(state, svm, "data_iscsi"), ..Target::default() };
    for map in state.list("lun_maps").filter(|map| text(map, "svm.uuid") == Some(svm)) {
        let Some(lun) = text(map, "lun.uuid").and_then(|lun| state.find("luns", lun)) else { continue };
        let handle = text(lun, "uuid").unwrap_or_default().to_owned();
        let number = number(map, "logical_unit_number");
        let igroup = text(map, "igroup.uuid").unwrap_or_default();
        let (Some(number), true) = (number, flag(lun, "enabled")) else { continue };
        for (_, member) in state.entries("igroup_initiators", &format!("{igroup}/")) {
            let Some(name) = text(member, "name").filter(|name| !is_denied(state, svm, name)) else {
                continue;
            };
            let initiator =
                target.initiators.entry(name.to_owned()).or_insert_with(|| proof(state, svm, name));
            initiator.units.insert(number, handle.clone());
            let unit = Unit {
                serial: text(lun, "serial_number").unwrap_or_default().to_owned(),
                size: sim_ontap::record::number(lun, "space.size").unwrap_or(0),
            };
            target.units.insert(handle.clone(), unit);
        }
    }
    target
}

fn credentials<'a>(state: &'a State, svm: &str, initiator: &str) -> Option<&'a Value> {
    let of = |who: &str| state.find("iscsi_credentials", &format!("{svm}/{who}"));
    of(initiator).or_else(|| of("default"))
}

fn is_denied(state: &State, svm: &str, initiator: &str) -> bool {
    credentials(state, svm, initiator).is_some_and(|own| own["authentication_type"] == "deny")
}

fn proof(state: &State, svm: &str, initiator: &str) -> Initiator {
    let own = credentials(state, svm, initiator).filter(|own| own["authentication_type"] == "chap");
    let account = |side: &str| {
        let field = |name: &str| text(own?, &format!("chap.{side}.{name}")).map(str::to_owned);
        Some((field("user")?, field("password")?))
    };
    Initiator { inbound: account("inbound"), outbound: account("outbound"), units: BTreeMap::new() }
}

fn subsystem(state: &State, own: &Value) -> Subsystem {
    let key = text(own, "uuid").unwrap_or_default();
    let prefix = format!("{key}/");
    let hosts = state.entries("nvme_hosts", &prefix).filter_map(|(_, host)| text(host, "nqn"));
    let maps = state.entries("nvme_maps", &prefix).filter_map(|(_, map)| {
        // ONTAP writes `00000001h`.
        let number = u64::from_str_radix(text(map, "nsid")?.trim_end_matches('h'), 16).ok()?;
        Some((number, text(map, "namespace.uuid")?.to_owned()))
    });
    Subsystem {
        serial: text(own, "serial_number").unwrap_or_default().to_owned(),
        portals: portals(state, text(own, "svm.uuid").unwrap_or_default(), "data_nvme_tcp"),
        hosts: hosts.map(str::to_owned).collect(),
        namespaces: maps.collect(),
    }
}

/// The addresses of an SVM that carry this and are up.
fn portals(state: &State, svm: &str, carried: &str) -> BTreeSet<IpAddr> {
    let carries = |interface: &&Value| {
        let services = interface["services"].as_array().into_iter().flatten();
        text(interface, "svm.uuid") == Some(svm)
            && is_up(interface)
            && services.into_iter().any(|own| own == carried)
    };
    state.list("interfaces").filter(carries).filter_map(address).collect()
}

/// A service that is enabled, of an SVM that runs.
fn runs(state: &State, service: &Value) -> bool {
    let svm = text(service, "svm.uuid").and_then(|svm| state.find("svms", svm));
    flag(service, "enabled") && svm.is_some_and(|svm| svm["state"] == "running")
}

fn address(interface: &Value) -> Option<IpAddr> {
    text(interface, "ip.address")?.parse().ok()
}

fn is_up(interface: &Value) -> bool {
    flag(interface, "enabled") && interface["state"] == "up"
}
