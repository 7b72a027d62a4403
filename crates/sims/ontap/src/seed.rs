//! What a new array holds before anybody has called it.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::builder::Personality;
use crate::record::number;
use crate::resource::{time, uuid_of};
use crate::resources::qtrees;
use crate::state::State;

/// How the array is equipped.
#[derive(Debug)]
pub(crate) struct Seed {
    pub svms: Vec<String>,
    pub version: String,
    pub personality: Personality,
    pub nodes: u32,
    pub aggregates: Vec<AggregateSeed>,
    pub interfaces: Vec<InterfaceSeed>,
    pub licences: Option<Vec<String>>,
}

#[derive(Clone, Debug)]
pub(crate) struct AggregateSeed {
    pub name: String,
    pub bytes: u64,
    pub media: String,
}

#[derive(Clone, Debug)]
pub(crate) struct InterfaceSeed {
    pub name: String,
    pub address: String,
    pub services: Vec<String>,
}

const LICENCES: [&str; 6] = ["nfs", "iscsi", "nvme_of", "flexclone", "snapmirror", "snaprestore"];

impl Default for Seed {
    fn default() -> Self {
        Self {
            svms: Vec::new(),
            version: "9.15.1".into(),
            personality: Personality::Unified,
            nodes: 2,
            aggregates: Vec::new(),
            interfaces: Vec::new(),
            licences: None,
        }
    }
}

/// The state of a new array; none when the version is none.
pub(crate) fn state(seed: &Seed, now: Timestamp) -> Option<State> {
    let mut state = State::default();
    add_cluster(&mut state, seed)?;
    let nodes: Vec<Value> = (1..=seed.nodes).map(|number| add_node(&mut state, number)).collect();
    add_licences(&mut state, seed);
    add_policies(&mut state);
    let given = seed.aggregates.clone();
    let aggregates = if given.is_empty() {
        ["aggr1", "aggr2"]
            .map(|name| AggregateSeed { name: name.into(), bytes: 10 << 40, media: "ssd".into() })
            .into()
    } else {
        given
    };
    let aggregates: Vec<Value> = aggregates
        .iter()
        .enumerate()
        .map(|(at, aggregate)| add_aggregate(&mut state, aggregate, &nodes[at % nodes.len()], now))
        .collect();
    let names = if seed.svms.is_empty() { vec!["svm1".to_owned()] } else { seed.svms.clone() };
    for (at, name) in names.iter().enumerate() {
        let svm = add_svm(&mut state, seed, name, &aggregates);
        add_root(&mut state, &svm, &aggregates[0], now);
        let interfaces = if at == 0 && !seed.interfaces.is_empty() {
            seed.interfaces.clone()
        } else {
            default_interfaces(at, seed.nodes)
        };
        for (number, interface) in interfaces.iter().enumerate() {
            add_interface(&mut state, interface, &svm, &nodes[number % nodes.len()]);
        }
    }
    Some(state)
}

fn add_cluster(state: &mut State, seed: &Seed) -> Option<()> {
    let mut parts = seed.version.split(['.', 'P']);
    let generation: u64 = parts.next()?.parse().ok()?;
    let major: u64 = parts.next()?.parse().ok()?;
    let minor: u64 = parts.next().unwrap_or("0").parse().ok()?;
    let uuid = uuid_of(state.next_number());
    let mut cluster = json!({
        "uuid": uuid, "name": "cluster1", "location": "", "contact": "",
        "version": {
            "full": format!("NetApp Release {}: Sat Jan 01 00:00:00 UTC 2025", seed.version),
            "generation": generation, "major": major, "minor": minor,
        },
        "timezone": {"name": "Etc/UTC"},
    });
    // Which kind of array it is can be asked since 9.16.1.
    if (generation, major, minor) >= (9, 16, 1) {
        cluster["san_optimized"] = json!(seed.personality == Personality::AsaR2);
        cluster["disaggregated"] = json!(seed.personality != Personality::Unified);
    }
    state.put("cluster", &uuid, cluster);
    Some(())
}

fn add_node(state: &mut State, number: u32) -> Value {
    let uuid = uuid_of(state.next_number());
    let name = format!("cluster1-{number:02}");
    let cluster = state.list("cluster").next().cloned().unwrap_or_default();
    let node = json!({
        "uuid": uuid, "name": name, "serial_number": format!("{:012}", 721_000_000_000_u64 + u64::from(number)),
        "model": "SIMBOX", "state": "up", "membership": "available", "uptime": 86_400, "location": "",
        "version": cluster["version"],
    });
    state.put("nodes", &uuid, node);
    json!({"name": name, "uuid": uuid})
}

fn add_licences(state: &mut State, seed: &Seed) {
    let names = seed.licences.clone().unwrap_or_else(|| LICENCES.map(str::to_owned).into());
    for name in names {
        let licence = json!({"name": name, "scope": "cluster", "state": "compliant", "description": name});
        state.put("licences", &name, licence);
    }
}

fn add_policies(state: &mut State) {
    for (name, copies) in [("none", 0), ("default", 3), ("default-1weekly", 3)] {
        let uuid = uuid_of(state.next_number());
        let schedules = ["hourly", "daily", "weekly"].iter().take(copies);
        let schedules: Vec<Value> = schedules
            .map(|schedule| json!({"schedule": {"name": schedule}, "count": 6, "prefix": schedule}))
            .collect();
        let policy = json!({
            "uuid": uuid, "name": name, "enabled": true, "scope": "cluster", "comment": "", "copies": schedules,
        });
        state.put("snapshot_policies", &uuid, policy);
    }
    for (name, minutes, hours) in [
        ("5min", json!([0, 5, 10]), json!([])),
        ("hourly", json!([5]), json!([])),
        ("daily", json!([10]), json!([0])),
    ] {
        let uuid = uuid_of(state.next_number());
        let cron = json!({"minutes": minutes, "hours": hours});
        let schedule = json!({"uuid": uuid, "name": name, "type": "cron", "scope": "cluster", "cron": cron});
        state.put("schedules", &uuid, schedule);
    }
    for (name, kind, all) in
        [("Asynchronous", "async", true), ("MirrorAllSnapshots", "async", true), ("Sync", "sync", false)]
    {
        let uuid = uuid_of(state.next_number());
        let mut policy = json!({"uuid": uuid, "name": name, "type": kind, "scope": "cluster", "comment": ""});
        match kind {
            "sync" => policy["sync_type"] = json!("sync"),
            _ => policy["copy_all_source_snapshots"] = json!(all),
        }
        state.put("snapmirror_policies", &uuid, policy);
    }
}

fn add_aggregate(state: &mut State, seed: &AggregateSeed, node: &Value, now: Timestamp) -> Value {
    let uuid = uuid_of(state.next_number());
    let aggregate = json!({
        "uuid": uuid, "name": seed.name, "state": "online", "node": node, "home_node": node, "create_time": time(now),
        "block_storage": {"primary": {"disk_type": disk_type(&seed.media), "disk_class": disk_class(&seed.media)},
                          "storage_type": storage_type(&seed.media)},
        "space": {"block_storage": {"size": seed.bytes}},
    });
    state.put("aggregates", &uuid, aggregate);
    json!({"name": seed.name, "uuid": uuid})
}

fn add_svm(state: &mut State, seed: &Seed, name: &str, aggregates: &[Value]) -> Value {
    let uuid = uuid_of(state.next_number());
    let has = |licence: &str| state.find("licences", licence).is_some();
    let files = seed.personality != Personality::AsaR2;
    let (nfs, iscsi, nvme) = (files && has("nfs"), has("iscsi"), has("nvme_of"));
    let reference = json!({"name": name, "uuid": uuid});
    let svm = json!({
        "uuid": uuid, "name": name, "state": "running", "subtype": "default", "language": "c.utf_8", "comment": "",
        "aggregates": aggregates, "ipspace": {"name": "Default"},
        "nfs": {"allowed": files, "enabled": nfs}, "iscsi": {"allowed": true, "enabled": iscsi},
        "nvme": {"allowed": true, "enabled": nvme}, "cifs": {"allowed": files, "enabled": false},
        "fcp": {"allowed": false, "enabled": false},
        "snapshot_policy": state.find_by("snapshot_policies", "name", "default").map(|(_, own)| crate::resource::reference(own)),
    });
    state.put("svms", &uuid, svm);
    if nfs {
        let service = json!({
            "svm": reference, "enabled": true, "state": "online",
            "protocol": {"v3_enabled": true, "v40_enabled": true, "v41_enabled": true},
        });
        state.put("nfs_services", &uuid, service);
    }
    if iscsi {
        let target =
            format!("iqn.1992-08.com.netapp:sn.{}:vs.{}", uuid.replace('-', ""), state.count("svms") + 2);
        let service = json!({"svm": reference, "enabled": true, "target": {"name": target, "alias": name}});
        state.put("iscsi_services", &uuid, service);
        let credentials = json!({"svm": reference, "initiator": "default", "authentication_type": "none"});
        state.put("iscsi_credentials", &format!("{uuid}/default"), credentials);
    }
    if nvme {
        state.put("nvme_services", &uuid, json!({"svm": reference, "enabled": true}));
    }
    let id = 4_294_967_297_u64 + state.next_number();
    state.put("export_policies", &id.to_string(), json!({"id": id, "name": "default", "svm": reference}));
    reference
}

/// The root volume of an SVM, where all junctions hang: thick, and of the least size where the aggregate is
/// small.
fn add_root(state: &mut State, svm: &Value, aggregate: &Value, now: Timestamp) {
    let uuid = uuid_of(state.next_number());
    let fits = |policy: &&Value| policy["svm"]["uuid"] == svm["uuid"];
    let policy = state
        .list("export_policies")
        .find(fits)
        .map(|policy| json!({"name": policy["name"], "id": policy["id"]}));
    let room = state
        .find("aggregates", aggregate["uuid"].as_str().unwrap_or_default())
        .and_then(|own| number(own, "space.block_storage.size"))
        .unwrap_or(0);
    let snapshots =
        state.find_by("snapshot_policies", "name", "default").map(|(_, own)| crate::resource::reference(own));
    let volume = json!({
        "uuid": uuid, "name": format!("{}_root", svm["name"].as_str().unwrap_or_default()), "svm": svm,
        "size": if room < 2 << 30 { 20 << 20 } else { 1 << 30 }, "style": "flexvol", "type": "rw", "state": "online", "language": "c.utf_8", "comment": "",
        "aggregates": [aggregate], "create_time": time(now), "_used": 0, "is_svm_root": true,
        "guarantee": {"type": "volume", "honored": true}, "space": {"snapshot": {"reserve_percent": 5}},
        "nas": {"path": "/", "export_policy": policy, "security_style": "unix", "unix_permissions": 755, "uid": 0,
                "gid": 0},
        "snapshot_policy": snapshots, "snapshot_directory_access_enabled": true, "clone": {"is_flexclone": false},
        "encryption": {"enabled": false}, "tiering": {"policy": "none"}, "autosize": {"mode": "off"},
        "quota": {"state": "off"},
    });
    state.put("volumes", &uuid, volume);
    qtrees::add_root(state, &uuid);
}

fn default_interfaces(svm: usize, nodes: u32) -> Vec<InterfaceSeed> {
    let services = ["data_core", "data_nfs", "data_iscsi", "data_nvme_tcp", "management_https"];
    let one = |node: u32| InterfaceSeed {
        name: format!("lif{}_{node}", svm + 1),
        address: format!("192.0.2.{}", svm * 16 + 10 + node as usize),
        services: services.map(str::to_owned).into(),
    };
    (1..=nodes).map(one).collect()
}

fn add_interface(state: &mut State, seed: &InterfaceSeed, svm: &Value, node: &Value) {
    let uuid = uuid_of(state.next_number());
    let family = if seed.address.contains(':') { "ipv6" } else { "ipv4" };
    let netmask = if family == "ipv6" { "64" } else { "24" };
    let interface = json!({
        "uuid": uuid, "name": seed.name, "svm": svm, "scope": "svm", "enabled": true, "state": "up",
        "ip": {"address": seed.address, "family": family, "netmask": netmask}, "services": seed.services,
        "location": {"node": node, "home_node": node, "is_home": true, "failover": "home_node_only",
                     "auto_revert": true, "port": {"name": "e0c"}},
        "ipspace": {"name": "Default"},
    });
    state.put("interfaces", &uuid, interface);
}

fn disk_type(media: &str) -> &str {
    match media {
        "ssd-nvm" | "nvme" => "ssd_nvm",
        "hdd" => "sas",
        other => other,
    }
}

fn disk_class(media: &str) -> &'static str {
    if media == "hdd" { "performance" } else { "solid_state" }
}

fn storage_type(media: &str) -> &'static str {
    if media == "hdd" { "hdd" } else { "ssd" }
}
