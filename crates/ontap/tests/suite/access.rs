//! Rights follow use: what a restart, another account or a person at the array does to them.

use driver::ErrorKind;
use driver::conformance::Fixture;
use model::{Permit, Route};
use serde_json::{Value, json};

use crate::array::{Array, request};

/// Addresses in the rules of a policy.
fn clients(array: &Array, policy: &str) -> Vec<String> {
    let state = array.sim.state();
    let Some((key, _)) = state.find_by("export_policies", "name", policy) else { return Vec::new() };
    let rules = state.entries("export_rules", &format!("{key}/"));
    let all = rules.flat_map(|(_, rule)| rule["clients"].as_array().cloned().unwrap_or_default());
    all.map(|client| client["match"].as_str().unwrap().to_owned()).collect()
}

fn policy_of(array: &Array, volume: &str) -> Value {
    array.sim.state().find_by("volumes", "name", volume).unwrap().1["nas"]["export_policy"]["name"].clone()
}

#[tokio::test]
async fn rules_survive_restarts_and_what_was_removed_by_hand_comes_back() {
    let array = Array::new("ontap-nas", "").await;
    let driver = array.driver();
    let volume = request(driver.as_ref(), "v");
    driver.create(&volume).await.unwrap();
    assert_eq!(policy_of(&array, "leister_v"), json!("leister_empty"));
    let permits = array.nodes().map_shared();
    for permit in &permits {
        driver.permit(&volume.handle, permit).await.unwrap();
    }
    array.reopen().await;
    let driver = array.driver();
    assert_eq!(clients(&array, "leister_v"), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(driver.observe(&volume.handle).await.unwrap().unwrap().permitted.len(), 2);
    // A person deletes one rule and adds one.
    let id = {
        let state = array.sim.state();
        state.find_by("export_policies", "name", "leister_v").unwrap().1["id"].clone()
    };
    array.sim.ask("DELETE", &format!("/protocols/nfs/export-policies/{id}/rules/1"), Value::Null).await;
    let foreign = json!({"clients": [{"match": "192.0.2.0/24"}], "protocols": ["nfs"], "ro_rule": ["sys"],
        "rw_rule": ["sys"], "superuser": ["sys"]});
    array.ask(&format!("/protocols/nfs/export-policies/{id}/rules"), foreign).await;
    let seen = driver.observe(&volume.handle).await.unwrap().unwrap().permitted;
    assert_eq!(seen.iter().map(|node| node.as_str()).collect::<Vec<_>>(), ["node2"]);
    assert!(driver.permit(&volume.handle, &permits[0]).await.unwrap().is_changed());
    for permit in &permits {
        assert!(driver.forbid(&volume.handle, &permit.node).await.unwrap().is_changed());
    }
    assert_eq!(clients(&array, "leister_v"), ["192.0.2.0/24"], "a foreign rule is not ours to take");
    assert_eq!(policy_of(&array, "leister_v"), json!("leister_v"), "a foreign rule still lets somebody in");
}

#[tokio::test]
async fn the_last_node_leaves_no_policy_behind() {
    let array = Array::new("ontap-nas", "").await;
    let driver = array.driver();
    let volume = request(driver.as_ref(), "v");
    driver.create(&volume).await.unwrap();
    let permit = Permit::exclusive(array.nodes()[0].clone());
    driver.permit(&volume.handle, &permit).await.unwrap();
    driver.forbid(&volume.handle, &permit.node).await.unwrap();
    assert_eq!(policy_of(&array, "leister_v"), json!("leister_empty"));
    assert!(array.sim.state().find_by("export_policies", "name", "leister_v").is_none());
    driver.delete(&volume.handle).await.unwrap();
}

#[tokio::test]
async fn a_node_with_another_address_gets_another_rule() {
    let array = Array::new("ontap-nas", "").await;
    let driver = array.driver();
    let volume = request(driver.as_ref(), "v");
    driver.create(&volume).await.unwrap();
    let mut permit = Permit::exclusive(array.nodes()[0].clone());
    driver.permit(&volume.handle, &permit).await.unwrap();
    permit.node.addresses = vec!["10.0.0.77".parse().unwrap()];
    assert!(driver.permit(&volume.handle, &permit).await.unwrap().is_changed());
    assert_eq!(clients(&array, "leister_v"), ["10.0.0.77"]);
}

#[tokio::test]
async fn only_addresses_within_the_ranges_get_rules() {
    let array = Array::new("ontap-nas", "autoExportPolicy: true\nautoExportCIDRs: [10.0.0.2/32]").await;
    let driver = array.driver();
    let volume = request(driver.as_ref(), "v");
    driver.create(&volume).await.unwrap();
    let [first, second] = array.nodes().map_shared().try_into().unwrap();
    let refusal = driver.permit(&volume.handle, &first).await.unwrap_err();
    assert!(
        refusal.kind == ErrorKind::Invalid && refusal.to_string().contains("autoExportCIDRs"),
        "{refusal}"
    );
    driver.permit(&volume.handle, &second).await.unwrap();
}

#[tokio::test]
async fn chap_accounts_reach_the_array_and_the_route() {
    let chap = "useCHAP: true\nchapUsername: ours\nchapInitiatorSecret: aaaaaaaaaaaa\nchapTargetUsername: theirs\n\
                chapTargetInitiatorSecret: bbbbbbbbbbbb";
    let array = Array::new("ontap-san", chap).await;
    let driver = array.driver();
    let volume = request(driver.as_ref(), "v");
    driver.create(&volume).await.unwrap();
    let permit = Permit::exclusive(array.nodes()[0].clone());
    let route = driver.permit(&volume.handle, &permit).await.unwrap().into_inner();
    let Route::Iscsi(iscsi) = &route else { panic!("{route:?}") };
    assert_eq!(iscsi.chap.as_ref().unwrap().initiator.user, "ours");
    assert!(!iscsi.portals.is_empty() && iscsi.target.starts_with("iqn."), "{route:?}");
    assert!(!format!("{route:?}").contains("aaaaaaaaaaaa"));
    let state = array.sim.state();
    let initiator = permit.node.initiator.as_deref().unwrap();
    let (_, credentials) = state.find_by("iscsi_credentials", "initiator", initiator).unwrap();
    assert_eq!(credentials["chap"]["inbound"]["user"], json!("ours"));
    // Another backend on the same SVM knows nothing of that.
    array.reopen().await;
    let other = array.driver();
    let further = request(other.as_ref(), "w");
    other.create(&further).await.unwrap();
    other.permit(&further.handle, &permit).await.unwrap();
}

#[tokio::test]
async fn a_node_without_what_its_route_needs_is_told_so() {
    for (driver, rest, part) in [
        ("ontap-nas", "", "address"),
        ("ontap-san", "sanType: iscsi", "initiator"),
        ("ontap-san", "sanType: nvme", "NVMe host name"),
    ] {
        let array = Array::new(driver, rest).await;
        let driver = array.driver();
        let volume = request(driver.as_ref(), "v");
        driver.create(&volume).await.unwrap();
        let bare = Permit::exclusive(model::NodeIdentity::named(model::NodeName::new("bare").unwrap()));
        let refusal = driver.permit(&volume.handle, &bare).await.unwrap_err();
        assert!(refusal.kind == ErrorKind::Invalid && refusal.to_string().contains(part), "{refusal}");
    }
}

trait Shared {
    fn map_shared(self) -> Vec<Permit>;
}

impl Shared for Vec<model::NodeIdentity> {
    fn map_shared(self) -> Vec<Permit> {
        self.into_iter().map(Permit::shared).collect()
    }
}

#[tokio::test]
async fn backends_on_one_svm_do_not_take_each_others_volumes_for_their_own() {
    let array = Array::new("ontap-nas", "").await;
    let [nas, iscsi] = [array.driver(), array.beside("ontap-san", "sanType: iscsi").await];
    let (files, block) = (request(nas.as_ref(), "f"), request(iscsi.as_ref(), "b"));
    nas.create(&files).await.unwrap();
    iscsi.create(&block).await.unwrap();
    for (driver, own, other) in [(&nas, &files, &block), (&iscsi, &block, &files)] {
        let listed = driver.list().await.unwrap();
        assert_eq!(listed.iter().map(|seen| &seen.handle).collect::<Vec<_>>(), [&own.handle]);
        assert_eq!(driver.delete(&other.handle).await.unwrap_err().kind, ErrorKind::Conflict);
    }
    let prefixed = array.beside("ontap-nas", "storagePrefix: other_").await;
    assert_eq!(prefixed.list().await.unwrap(), []);
}

/// Trident #1179: a restart, or the account given anew, emptied the shared policy and cut every node.
#[tokio::test]
async fn a_restart_or_another_password_takes_no_right() {
    let array = Array::with("ontap-nas", "", |sim| sim.user("second", "netapp456")).await;
    let driver = array.driver();
    let volumes: Vec<_> = (0..5).map(|n| request(driver.as_ref(), &format!("v{n}"))).collect();
    let permits = array.nodes().map_shared();
    for volume in &volumes {
        driver.create(volume).await.unwrap();
        for permit in &permits {
            driver.permit(&volume.handle, permit).await.unwrap();
        }
    }
    let rules = |array: &Array| -> Vec<Value> { array.sim.state().list("export_rules").cloned().collect() };
    let before = rules(&array);
    let changing = array.sim.calls().total();
    array.reopen().await;
    array.driver().list().await.unwrap();
    array.driver().pools().await.unwrap();
    let again = array.as_user("second", "netapp456", "").await.unwrap();
    again.list().await.unwrap();
    assert!(array.sim.calls().total() > changing);
    assert_eq!(rules(&array), before, "opening a backend has changed rules");
    for volume in &volumes {
        let seen = again.observe(&volume.handle).await.unwrap().unwrap();
        assert_eq!(seen.permitted.len(), permits.len());
    }
}

/// Trident #1181: a rule that went was never made again.
#[tokio::test]
async fn a_right_that_went_is_seen_and_given_again() {
    for (kind, rest) in [("ontap-nas", ""), ("ontap-san", "sanType: iscsi"), ("ontap-san-economy", "")] {
        let array = Array::new(kind, rest).await;
        let driver = array.driver();
        let volume = request(driver.as_ref(), "v");
        driver.create(&volume).await.unwrap();
        let permit = Permit::exclusive(array.nodes()[0].clone());
        let route = driver.permit(&volume.handle, &permit).await.unwrap().into_inner();
        {
            let mut state = array.sim.edit();
            for table in ["export_rules", "lun_maps"] {
                let keys: Vec<String> = state.entries(table, "").map(|(key, _)| key.to_owned()).collect();
                for key in keys {
                    state.remove(table, &key);
                }
            }
        }
        let seen = driver.list().await.unwrap();
        assert!(seen[0].permitted.is_empty(), "{kind}: what is gone is still shown");
        let again = driver.permit(&volume.handle, &permit).await.unwrap();
        assert!(again.is_changed() && again.into_inner() == route, "{kind}");
        assert_eq!(driver.observe(&volume.handle).await.unwrap().unwrap().permitted.len(), 1, "{kind}");
    }
}

/// What a person took out of an igroup is put back by the next permit, and what was put in goes.
#[tokio::test]
async fn an_igroup_lets_in_its_node_and_nobody_else() {
    let array = Array::new("ontap-san", "sanType: iscsi").await;
    let driver = array.driver();
    let volume = request(driver.as_ref(), "v");
    driver.create(&volume).await.unwrap();
    let permit = Permit::exclusive(array.nodes()[0].clone());
    driver.permit(&volume.handle, &permit).await.unwrap();
    let group = {
        let state = array.sim.state();
        state.list("igroups").next().unwrap()["uuid"].as_str().unwrap().to_owned()
    };
    let own = permit.node.initiator.clone().unwrap();
    let path = format!("/protocols/san/igroups/{group}/initiators");
    array.ask(&path, json!({"name": "iqn.2020-01.example:stranger"})).await;
    assert!(driver.permit(&volume.handle, &permit).await.unwrap().is_changed());
    assert!(!driver.permit(&volume.handle, &permit).await.unwrap().is_changed());
    let state = array.sim.state();
    let members: Vec<_> = state.list("igroup_initiators").map(|member| member["name"].clone()).collect();
    assert_eq!(members, [json!(own)]);
}

/// Trident #1086: a right taken from a clone took the source's too.
#[tokio::test]
async fn a_right_taken_from_a_clone_leaves_its_source_alone() {
    for (kind, rest) in [("ontap-nas", ""), ("ontap-san", "sanType: iscsi"), ("ontap-san-economy", "")] {
        let array = Array::new(kind, rest).await;
        let driver = array.driver();
        let source = request(driver.as_ref(), "source");
        driver.create(&source).await.unwrap();
        let permit = Permit::exclusive(array.nodes()[0].clone());
        driver.permit(&source.handle, &permit).await.unwrap();
        let create = request(driver.as_ref(), "copy");
        let handle = create.handle.clone();
        let clone = driver::CloneVolume { create, source: source.handle.clone(), snapshot: None };
        let clones = driver.snapshots().and_then(|snapshots| snapshots.clones()).unwrap();
        clones.clone_volume(&clone).await.unwrap();
        driver.permit(&handle, &permit).await.unwrap();
        driver.forbid(&handle, &permit.node).await.unwrap();
        driver.delete(&handle).await.unwrap();
        assert_eq!(driver.observe(&source.handle).await.unwrap().unwrap().permitted.len(), 1, "{kind}");
    }
}
