//! The storage guest: what it shall serve, and what it does.

use std::path::PathBuf;

use model::{Bytes, NodeIdentity, NodeName, Permit};
use rig::{Guest, Output, Rig};
use serde_json::{Value, json};

use crate::LIMIT;

pub(crate) const TARGET: &str = "iqn.2026-01.io.leister:filer";
pub(crate) const BASE: &str = "nqn.2026-01.io.leister:filer";

/// Two portals, all wires.
pub(crate) fn settings(rig: &Rig) -> Value {
    let storage = rig.guest("storage");
    json!({
        "portals": [storage.address(0), storage.address(1)],
        "state": "/srv/pool/.served",
        "nfs": { "root": "/run/leister/nfs", "threads": 4, "graceSeconds": 10 },
        "iscsi": { "target": TARGET, "port": 3260 },
        "nvme": { "base": BASE, "port": 4420 },
    })
}

pub(crate) fn permit(rig: &Rig, node: &str) -> Permit {
    let guest = rig.guest(node);
    let line = |path: &str| String::from_utf8(guest.read(path).unwrap()).unwrap().trim().to_owned();
    let initiator = line("/etc/iscsi/initiatorname.iscsi");
    Permit::shared(NodeIdentity {
        addresses: vec![guest.address(0).into()],
        initiator: Some(initiator.trim_start_matches("InitiatorName=").to_owned()),
        nqn: Some(line("/etc/nvme/hostnqn")),
        ..NodeIdentity::named(NodeName::new(node).unwrap())
    })
}

pub(crate) fn volume(handle: &str, protocol: &str, content: Value, size: Bytes, permits: &[Permit]) -> Value {
    json!({ "handle": handle, "protocol": protocol, "content": content, "size": size, "permits": permits })
}

/// Runs the program in the storage guest.
pub(crate) fn run(rig: &Rig, wish: &Value) -> Output {
    let program = program();
    let wish = wish.to_string();
    assert!(!wish.contains('\''), "{wish}");
    rig.guest("storage").exec_within(LIMIT, &format!("{} '{wish}'", program.display()))
}

/// One wish of the usual settings; what the program said.
pub(crate) fn apply(rig: &Rig, key: &str, value: Value) -> Value {
    let mut wish = json!({ "settings": settings(rig) });
    wish[key] = value;
    serde_json::from_str(&run(rig, &wish).ok(key)).unwrap()
}

/// Serves one volume; whether that changed anything, and its routes.
pub(crate) fn serve(rig: &Rig, volume: &Value) -> (bool, Vec<Value>) {
    let said = apply(rig, "serve", json!([volume]));
    let served = &said["served"][0];
    let granted = served["granted"].as_array().unwrap();
    (served["changed"].as_bool().unwrap(), granted.iter().map(|g| g["route"].clone()).collect())
}

/// The kernel's own state of one volume.
pub(crate) fn clients(rig: &Rig, handle: &str) -> Vec<Value> {
    let said = apply(rig, "serve", json!([]));
    said["list"][handle].as_array().cloned().unwrap_or_default()
}

/// Writes without end through one open file; ends when that fails.
pub(crate) fn writer(node: &Guest, path: &str) -> rig::Job {
    node.spawn(&format!(
        "tr '\\0' x </dev/zero | dd of={path} bs=4k oflag=direct conv=notrunc iflag=fullblock"
    ))
    .unwrap()
}

/// The digest of files on the storage, over their whole content.
pub(crate) fn digest(rig: &Rig, path: &str) -> String {
    rig.guest("storage").exec(&format!("sync; sha1sum {path}")).ok("digest")
}

fn program() -> PathBuf {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    folder.pop();
    let program = folder.join("examples/serve");
    assert!(program.exists(), "{} is not built: cargo build -p filer --examples", program.display());
    program
}
