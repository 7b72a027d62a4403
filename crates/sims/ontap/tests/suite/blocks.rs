//! LUNs and namespaces, and who sees them.

use serde_json::{Value, json};
use sim_ontap::{Personality, Sim};

use crate::rest::Rest;

const NQN: &str = "nqn.2014-08.org.nvmexpress:uuid:1b4e28ba-2fa1-11d2-883f-0016d3cca427";

fn lun(name: &str, mib: u64) -> Value {
    json!({"name": name, "svm.name": "svm1", "os_type": "linux", "space.size": mib << 20})
}

fn igroup(name: &str, initiators: &[&str]) -> Value {
    let initiators: Vec<Value> = initiators.iter().map(|own| json!({"name": own})).collect();
    json!({"name": name, "svm.name": "svm1", "os_type": "linux", "protocol": "iscsi", "initiators": initiators})
}

fn map(lun: &str, igroup: &str) -> Value {
    json!({"svm.name": "svm1", "lun.name": lun, "igroup.name": igroup})
}

#[tokio::test]
async fn a_lun_grows_never_shrinks_and_keeps_its_serial_number_when_it_is_renamed() {
    let rest = Rest::start().await;
    rest.volume("v", 500).await;
    let path = rest.make("/storage/luns", lun("/vol/v/a", 100)).await;
    let before = rest.get(&path).await;
    assert_eq!(before["serial_number"].as_str().unwrap().len(), 12);
    rest.good("PATCH", &path, json!({"space.size": 200 << 20})).await;
    assert_eq!(rest.bad("PATCH", &path, json!({"space.size": 100 << 20})).await, (400, 5_374_892));
    rest.good("PATCH", &path, json!({"name": "/vol/v/b"})).await;
    let after = rest.get(&path).await;
    assert_eq!(after["serial_number"], before["serial_number"]);
    assert_eq!((&after["name"], &after["space"]["size"]), (&json!("/vol/v/b"), &json!(200 << 20)));
    assert_eq!(rest.bad("POST", "/storage/luns", lun("/vol/v/b", 1)).await.1, 5_374_242);
    assert_eq!(rest.bad("POST", "/storage/luns", lun("/vol/none/b", 1)).await.1, 917_927);
    assert_eq!(rest.bad("POST", "/storage/luns", lun("/vol/v/q/b", 1)).await.1, 5_242_927);
    assert_eq!(rest.bad("POST", "/storage/luns", lun("odd name", 1)).await.0, 400);
}

#[tokio::test]
async fn a_thick_lun_needs_room_in_its_volume() {
    let rest = Rest::start().await;
    rest.volume("v", 500).await;
    let thick = |name: &str, mib: u64| {
        let mut body = lun(name, mib);
        body["space.guarantee.requested"] = json!(true);
        body
    };
    let path = rest.make("/storage/luns", thick("/vol/v/a", 300)).await;
    assert_eq!(rest.bad("POST", "/storage/luns", thick("/vol/v/b", 300)).await.1, 5_374_858);
    assert_eq!(rest.bad("PATCH", &path, json!({"space.size": 600 << 20})).await.1, 5_374_858);
    rest.make("/storage/luns", lun("/vol/v/thin", 3000)).await;
}

#[tokio::test]
async fn what_is_mapped_is_not_deleted() {
    let rest = Rest::start().await;
    rest.volume("v", 500).await;
    let lun_path = rest.make("/storage/luns", lun("/vol/v/a", 100)).await;
    let initiator = "iqn.1994-05.com.redhat:one";
    let group = rest.make("/protocols/san/igroups", igroup("g", &[initiator])).await;
    let mapped = rest.make("/protocols/san/lun-maps", map("/vol/v/a", "g")).await;
    assert_eq!(rest.bad("POST", "/protocols/san/lun-maps", map("/vol/v/a", "g")).await, (409, 5_374_922));
    assert_eq!(rest.bad("DELETE", &lun_path, Value::Null).await, (409, 1_254_197));
    assert_eq!(rest.bad("DELETE", &group, Value::Null).await, (409, 1_254_213));
    assert_eq!(rest.bad("DELETE", &format!("{group}/initiators/{initiator}"), Value::Null).await.0, 409);
    rest.make("/protocols/san/igroups", igroup("same", &[initiator])).await;
    assert_eq!(rest.bad("POST", "/protocols/san/lun-maps", map("/vol/v/a", "same")).await.0, 409);
    rest.good("DELETE", &mapped, Value::Null).await;
    rest.good("DELETE", &format!("{group}/initiators/{initiator}"), Value::Null).await;
    rest.good("DELETE", &group, Value::Null).await;
    rest.good("DELETE", &lun_path, Value::Null).await;
}

#[tokio::test]
async fn lun_numbers_are_the_lowest_free_and_an_igroup_has_only_so_many() {
    let rest = Rest::of(Sim::builder().limits(|limits| limits.luns_per_igroup = 3)).await;
    rest.volume("v", 500).await;
    rest.make("/protocols/san/igroups", igroup("g", &[])).await;
    let mut maps = Vec::new();
    for name in ["/vol/v/a", "/vol/v/b", "/vol/v/c", "/vol/v/d"] {
        rest.make("/storage/luns", lun(name, 10)).await;
    }
    for (name, unit) in [("/vol/v/a", 0), ("/vol/v/b", 1), ("/vol/v/c", 2)] {
        let path = rest.make("/protocols/san/lun-maps", map(name, "g")).await;
        assert_eq!(rest.get(&path).await["logical_unit_number"], unit);
        maps.push(path);
    }
    assert_eq!(rest.bad("POST", "/protocols/san/lun-maps", map("/vol/v/d", "g")).await.1, 5_374_925);
    rest.good("DELETE", &maps[1], Value::Null).await;
    let mut wanted = map("/vol/v/d", "g");
    wanted["logical_unit_number"] = json!(2);
    assert_eq!(rest.bad("POST", "/protocols/san/lun-maps", wanted).await.0, 409);
    let path = rest.make("/protocols/san/lun-maps", map("/vol/v/d", "g")).await;
    assert_eq!(rest.get(&path).await["logical_unit_number"], 1);
    let found =
        rest.get("/protocols/san/lun-maps?lun.name=/vol/v/d&igroup.name=g&fields=logical_unit_number").await;
    assert_eq!(found["num_records"], 1);
}

#[tokio::test]
async fn an_igroup_takes_each_initiator_once_and_only_real_names() {
    let rest = Rest::start().await;
    let group = rest.make("/protocols/san/igroups", igroup("g", &["iqn.1994-05.com.redhat:one"])).await;
    assert_eq!(rest.bad("POST", "/protocols/san/igroups", igroup("g", &[])).await, (409, 5_374_023));
    let initiators = format!("{group}/initiators");
    assert_eq!(
        rest.bad("POST", &initiators, json!({"name": "iqn.1994-05.com.redhat:one"})).await.1,
        5_374_035
    );
    assert_eq!(rest.bad("POST", &initiators, json!({"name": "one"})).await.1, 5_374_029);
    rest.good("POST", &initiators, json!({"records": [{"name": "iqn.1994-05.com.redhat:two"}]})).await;
    assert_eq!(
        rest.get(&format!("{group}?fields=initiators.name")).await["initiators"].as_array().unwrap().len(),
        2
    );
    let mut leaves = igroup("leaves", &[]);
    leaves["delete_on_unmap"] = json!(true);
    let leaves = rest.make("/protocols/san/igroups", leaves).await;
    rest.volume("v", 500).await;
    rest.make("/storage/luns", lun("/vol/v/a", 10)).await;
    let mapped = rest.make("/protocols/san/lun-maps", map("/vol/v/a", "leaves")).await;
    rest.good("DELETE", &mapped, Value::Null).await;
    assert_eq!(rest.bad("GET", &leaves, Value::Null).await.0, 404);
}

#[tokio::test]
async fn luns_follow_the_snapshots_and_clones_of_their_volume() {
    let rest = Rest::start().await;
    let volume = rest.volume("v", 500).await;
    let path = rest.make("/storage/luns", lun("/vol/v/a", 100)).await;
    rest.make("/protocols/san/igroups", igroup("g", &[])).await;
    rest.make("/protocols/san/lun-maps", map("/vol/v/a", "g")).await;
    rest.make(&format!("{volume}/snapshots"), json!({"name": "s"})).await;
    rest.good("PATCH", &path, json!({"space.size": 200 << 20})).await;
    rest.make("/storage/luns", lun("/vol/v/late", 100)).await;
    let body = json!({"name": "c", "svm.name": "svm1", "clone.is_flexclone": true, "clone.parent_volume.name": "v",
                      "clone.parent_snapshot.name": "s"});
    rest.make("/storage/volumes", body).await;
    let cloned = rest.get("/storage/luns?name=/vol/c/*&fields=serial_number,space.size,status.mapped").await;
    assert_eq!(cloned["num_records"], 1);
    let cloned = &cloned["records"][0];
    let original = rest.get(&path).await;
    assert_ne!(cloned["serial_number"], original["serial_number"]);
    assert_eq!((&cloned["space"]["size"], &cloned["status"]["mapped"]), (&json!(100 << 20), &json!(false)));
    rest.good("PATCH", &format!("{volume}?restore_to.snapshot.name=s"), json!({})).await;
    let restored = rest.get(&format!("{path}?fields=space.size,serial_number,status.mapped")).await;
    assert_eq!(restored["space"]["size"], 100 << 20);
    assert_eq!(
        (&restored["serial_number"], &restored["status"]["mapped"]),
        (&original["serial_number"], &json!(true))
    );
    assert_eq!(rest.get("/storage/luns?name=/vol/v/*").await["num_records"], 1);
}

#[tokio::test]
async fn a_namespace_belongs_to_one_subsystem() {
    let rest = Rest::of(Sim::builder().limits(|limits| limits.namespaces_per_subsystem = 2)).await;
    rest.volume("v", 500).await;
    let body = |name: &str| json!({"name": name, "svm.name": "svm1", "os_type": "linux", "space.size": 40 << 20, "space.block_size": 4096});
    let mut odd = body("/vol/v/odd");
    odd["space.size"] = json!(5000);
    assert_eq!(rest.bad("POST", "/storage/namespaces", odd).await.1, 72_090_009);
    let mut paths = Vec::new();
    for name in ["/vol/v/a", "/vol/v/b", "/vol/v/c"] {
        paths.push(rest.make("/storage/namespaces", body(name)).await);
    }
    let subsystem =
        |name: &str| json!({"name": name, "svm.name": "svm1", "os_type": "linux", "hosts": [{"nqn": NQN}]});
    let first = rest.make("/protocols/nvme/subsystems", subsystem("s1")).await;
    rest.make("/protocols/nvme/subsystems", subsystem("s2")).await;
    assert_eq!(rest.bad("POST", "/protocols/nvme/subsystems", subsystem("s1")).await, (409, 72_090_025));
    let hosts = format!("{first}/hosts");
    assert_eq!(rest.bad("POST", &hosts, json!({"nqn": NQN})).await.0, 409);
    assert_eq!(rest.bad("POST", &hosts, json!({"nqn": "host"})).await.0, 400);
    let map = |subsystem: &str, namespace: &str| json!({"svm.name": "svm1", "subsystem.name": subsystem, "namespace.name": namespace});
    let maps = "/protocols/nvme/subsystem-maps";
    let mapped = rest.make(maps, map("s1", "/vol/v/a")).await;
    rest.make(maps, map("s1", "/vol/v/b")).await;
    assert_eq!(rest.bad("POST", maps, map("s2", "/vol/v/a")).await.0, 409);
    assert_eq!(rest.bad("POST", maps, map("s1", "/vol/v/c")).await.1, 72_090_010);
    assert_eq!(rest.bad("DELETE", &paths[0], Value::Null).await.0, 409);
    assert_eq!(rest.bad("DELETE", &first, Value::Null).await.0, 409);
    rest.good("DELETE", &mapped, Value::Null).await;
    rest.good("DELETE", &paths[0], Value::Null).await;
    let host = format!("{hosts}/{}", NQN.replace(':', "%3A"));
    rest.good("DELETE", &host, Value::Null).await;
    assert_eq!(rest.get(&hosts).await["num_records"], 0);
    rest.good("DELETE", &format!("{first}?allow_delete_while_mapped=true"), Value::Null).await;
}

#[tokio::test]
async fn chap_secrets_go_in_and_never_come_out() {
    let rest = Rest::start().await;
    let found = rest.get("/protocols/san/iscsi/credentials?initiator=default&fields=*").await;
    assert_eq!(found["records"][0]["authentication_type"], "none");
    let path = found["records"][0]["_links"]["self"]["href"].as_str().unwrap().strip_prefix("/api").unwrap();
    assert_eq!(rest.bad("PATCH", path, json!({"authentication_type": "chap"})).await.0, 400);
    let chap = json!({"authentication_type": "chap", "chap": {"inbound": {"user": "in", "password": "topsecret1234"},
                      "outbound": {"user": "out", "password": "topsecret5678"}}});
    rest.good("PATCH", path, chap).await;
    let shown = rest.get(&format!("{path}?fields=**")).await;
    assert_eq!(shown["chap"]["outbound"]["user"], "out");
    assert!(!shown.to_string().contains("topsecret"), "{shown}");
}

#[tokio::test]
async fn an_asa_has_storage_units_with_snapshots_and_clones_of_their_own() {
    let rest = Rest::of(Sim::builder().personality(Personality::AsaR2).version("9.17.1")).await;
    let cluster = rest.get("/cluster?fields=san_optimized,disaggregated").await;
    assert_eq!((&cluster["san_optimized"], &cluster["disaggregated"]), (&json!(true), &json!(true)));
    rest.make("/storage/luns", lun("one", 100)).await;
    let unit = rest.get("/storage/storage-units?name=one&fields=*").await["records"][0].clone();
    assert_eq!((&unit["type"], &unit["space"]["size"]), (&json!("lun"), &json!(100 << 20)));
    let path = format!("/storage/storage-units/{}", unit["uuid"].as_str().unwrap());
    let snapshot = rest.make(&format!("{path}/snapshots"), json!({"name": "s"})).await;
    let lun_path = format!("/storage/luns/{}", unit["uuid"].as_str().unwrap());
    rest.good("PATCH", &lun_path, json!({"space.size": 200 << 20})).await;
    let clone = json!({"name": "two", "svm.name": "svm1", "clone": {"is_flexclone": true, "source": {
        "storage_unit": {"uuid": unit["uuid"]}, "snapshot": {"name": "s"}}}});
    let clone = rest.make("/storage/storage-units", clone).await;
    assert_eq!(rest.get(&clone).await["space"]["size"], 100 << 20);
    assert_eq!(rest.bad("DELETE", &snapshot, Value::Null).await.1, 1_638_555);
    assert_eq!(rest.bad("DELETE", &path, Value::Null).await.0, 409);
    rest.good("PATCH", &clone, json!({"clone.split_initiated": true})).await;
    rest.good("PATCH", &format!("{path}?restore_to.snapshot.name=s"), json!({})).await;
    assert_eq!(rest.get(&path).await["space"]["size"], 100 << 20);
    rest.good("DELETE", &snapshot, Value::Null).await;
    rest.good("DELETE", &path, Value::Null).await;
}
