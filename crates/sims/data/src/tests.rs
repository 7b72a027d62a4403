use std::collections::BTreeSet;

use filer::{Layout, Source};
use serde_json::{Value, json};
use sim_ontap::{Sim, State};

use crate::content::{self, Replacement};
use crate::wires;

/// Makes a call, whose job is awaited.
async fn ask(sim: &Sim, method: &str, path: &str, body: Value) {
    let sign = if path.contains('?') { '&' } else { '?' };
    let (status, said) = sim.ask(method, &format!("{path}{sign}return_timeout=15"), body).await;
    assert!(status < 300, "{method} {path}: {status} {said}");
}

async fn array() -> Sim {
    let sim = Sim::builder()
        .http()
        .lif("nas1", "192.0.2.1", &["data_nfs"])
        .lif("san1", "192.0.2.2", &["data_iscsi"])
        .start()
        .await
        .unwrap();
    let svm = json!({"name": "svm1"});
    let policy = json!({"svm": svm, "name": "nodes", "rules": [
        {"clients": [{"match": "192.0.2.77"}], "ro_rule": ["sys"], "rw_rule": ["sys"], "superuser": ["sys"]},
        {"clients": [{"match": "0.0.0.0/0"}], "ro_rule": ["sys"], "rw_rule": ["never"]}]});
    ask(&sim, "POST", "/protocols/nfs/export-policies", policy).await;
    let volume = json!({"svm": svm, "name": "v", "size": 64 << 20, "aggregates": [{"name": "aggr1"}],
        "guarantee": {"type": "none"}, "nas": {"path": "/v", "unix_permissions": 770,
        "export_policy": {"name": "nodes"}}});
    ask(&sim, "POST", "/storage/volumes", volume).await;
    let lun = json!({"svm": svm, "name": "/vol/v/lun0", "os_type": "linux", "space": {"size": 32 << 20}});
    ask(&sim, "POST", "/storage/luns", lun).await;
    sim
}

fn uuid(state: &State, table: &str, name: &str) -> String {
    let (key, _) = state.find_by(table, "name", name).unwrap();
    key.rsplit('/').next().unwrap().to_owned()
}

async fn snapshot(sim: &Sim, name: &str) -> String {
    let volume = uuid(&sim.state(), "volumes", "v");
    ask(sim, "POST", &format!("/storage/volumes/{volume}/snapshots"), json!({"name": name})).await;
    uuid(&sim.state(), "snapshots", name)
}

#[tokio::test]
async fn a_volume_and_its_lun_are_contents_of_their_own_and_a_snapshot_holds_both() {
    let sim = array().await;
    let taken = snapshot(&sim, "s").await;
    let state = sim.state();
    let contents = content::of(&state);
    // What is not for snapshots.
    let of_files = (64 << 20) - (64 << 20) / 100 * 5;
    for (table, name, layout, size) in
        [("volumes", "v", Layout::File, of_files), ("luns", "/vol/v/lun0", Layout::Block, 32 << 20)]
    {
        let own = &contents[&uuid(&state, table, name)];
        assert_eq!((own.layout, own.size, &own.origin), (layout, size, &None), "{name}");
        assert_eq!(own.snapshots, BTreeSet::from([taken.clone()]), "{name}");
    }
    assert_eq!(contents[&uuid(&state, "volumes", "v")].owner.mode, Some(0o770));
}

#[tokio::test]
async fn a_clone_begins_with_what_its_snapshot_holds_and_a_restore_is_seen_once() {
    let sim = array().await;
    let taken = snapshot(&sim, "s").await;
    let clone = json!({"svm": {"name": "svm1"}, "name": "w", "clone": {"is_flexclone": true,
        "parent_volume": {"name": "v"}, "parent_snapshot": {"name": "s"}}});
    ask(&sim, "POST", "/storage/volumes", clone).await;
    let before = sim.state();
    let contents = content::of(&before);
    for (table, origin, copy) in [("volumes", "v", "w"), ("luns", "/vol/v/lun0", "/vol/w/lun0")] {
        let source = Source::Snapshot { handle: uuid(&before, table, origin), name: taken.clone() };
        assert_eq!(contents[&uuid(&before, table, copy)].origin, Some(source), "{copy}");
    }
    let volume = uuid(&before, "volumes", "v");
    let restore = format!("/storage/volumes/{volume}?restore_to.snapshot.name=s");
    ask(&sim, "PATCH", &restore, json!({})).await;
    let after = sim.state();
    let restored = |handle: String| Replacement::Restore { handle, snapshot: taken.clone() };
    let expected = [uuid(&before, "luns", "/vol/v/lun0"), volume].map(restored);
    assert_eq!(content::replaced(&before, &after), expected);
    assert_eq!(content::replaced(&after, &after), []);
}

#[tokio::test]
async fn a_lun_that_is_deleted_stays_as_long_as_a_snapshot_holds_it() {
    let sim = array().await;
    let taken = snapshot(&sim, "s").await;
    let state = sim.state();
    let (volume, lun) = (uuid(&state, "volumes", "v"), uuid(&state, "luns", "/vol/v/lun0"));
    ask(&sim, "DELETE", &format!("/storage/luns/{lun}"), Value::Null).await;
    assert!(content::of(&sim.state()).contains_key(&lun));
    ask(&sim, "DELETE", &format!("/storage/volumes/{volume}/snapshots/{taken}"), Value::Null).await;
    assert!(!content::of(&sim.state()).contains_key(&lun));
}

#[tokio::test]
async fn rules_become_exports_and_maps_become_units_of_the_initiators_in_their_igroup() {
    let sim = array().await;
    let svm = json!({"name": "svm1"});
    let igroup = json!({"svm": svm, "name": "g", "os_type": "linux", "protocol": "iscsi",
        "initiators": [{"name": "iqn.2026-11.example:n1"}]});
    ask(&sim, "POST", "/protocols/san/igroups", igroup).await;
    let map = json!({"svm": svm, "lun": {"name": "/vol/v/lun0"}, "igroup": {"name": "g"}, "logical_unit_number": 7});
    ask(&sim, "POST", "/protocols/san/lun-maps", map).await;
    let state = sim.state();
    let served = wires::of(&state);
    let share = &served.shares["/v"];
    assert_eq!(share.fsid.len(), 32);
    let how: Vec<(&str, &str)> =
        share.clients.iter().map(|(client, options)| (client.as_str(), &options[..2])).collect();
    assert_eq!(how, [("192.0.2.77", "rw"), ("*", "ro")]);
    let target = served.targets.values().next().unwrap();
    let lun = uuid(&state, "luns", "/vol/v/lun0");
    assert_eq!(target.initiators["iqn.2026-11.example:n1"].units[&7], lun);
    assert_eq!(target.portals, BTreeSet::from(["192.0.2.2".parse().unwrap()]));
    assert!(target.units[&lun].serial.chars().all(|digit| digit.is_ascii_hexdigit()));
    let without = served.without(&BTreeSet::from([lun.as_str()]));
    assert!(without.targets.values().all(|target| target.units.is_empty()));
    assert!(served.serve(&lun) && served.serve(&share.handle));
    assert!(!without.serve(&lun) && !served.serve("nobody's"));
}

#[tokio::test]
async fn a_controller_that_is_taken_over_keeps_its_interfaces_for_files_and_loses_those_for_blocks() {
    let sim = Sim::builder()
        .http()
        .lif("nas1", "192.0.2.1", &["data_nfs"])
        .lif("nas2", "192.0.2.2", &["data_nfs"])
        .lif("san1", "192.0.2.3", &["data_iscsi"])
        .lif("san2", "192.0.2.4", &["data_iscsi"])
        .start()
        .await
        .unwrap();
    let up = || wires::of(&sim.state()).addresses.values().copied().collect::<Vec<bool>>();
    let node = json!({"ofnode": "cluster1-01"});
    ask(&sim, "POST", "/private/cli/storage/failover/takeover", node.clone()).await;
    assert_eq!(up(), [true, true, false, true]);
    ask(&sim, "POST", "/private/cli/storage/failover/giveback", node).await;
    assert_eq!(up(), [true; 4]);
}
