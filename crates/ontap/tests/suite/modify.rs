//! What changes of a volume in use, as the array has it afterwards.

use driver::conformance::Fixture;
use driver::{Driver, ErrorKind, ModifyVolume, Outcome, Result};
use model::{Handle, Permit, VolumeOption, VolumeOptions, VolumeState};
use serde_json::{Value, json};

use crate::array::{Array, request};

/// A volume in use, on an array with two QoS policies.
async fn used(array: &Array) -> Handle {
    for (name, limit) in [("gold", "fixed"), ("grows", "adaptive")] {
        let limits = match limit {
            "fixed" => json!({"max_throughput_iops": 500}),
            _ => {
                json!({"expected_iops": 100, "peak_iops": 500, "expected_iops_allocation": "allocated_space"})
            }
        };
        array
            .ask("/storage/qos/policies", json!({"name": name, "svm": {"name": "svm1"}, limit: limits}))
            .await;
    }
    let driver = array.driver();
    let volume = request(driver.as_ref(), "v");
    driver.create(&volume).await.unwrap();
    driver.permit(&volume.handle, &Permit::exclusive(array.nodes()[0].clone())).await.unwrap();
    volume.handle
}

/// Changes on top of others, as the orchestrator asks for them.
async fn modify(
    driver: &dyn Driver,
    handle: &Handle,
    has: &mut VolumeOptions,
    changes: &[(VolumeOption, &str)],
) -> Result<Outcome<VolumeState>> {
    let changes: VolumeOptions =
        changes.iter().map(|(option, value)| (*option, (*value).to_owned())).collect();
    let mut spec = request(driver, "v").spec;
    spec.options.clone_from(has);
    spec.options.extend(changes.clone());
    let modified =
        driver.modify().unwrap().modify_volume(&ModifyVolume { handle: handle.clone(), changes, spec }).await;
    if let Ok(Outcome::Changed(state) | Outcome::Unchanged(state)) = &modified {
        has.clear();
        has.extend(state.made_as.iter().flat_map(|spec| spec.options.clone()));
    }
    modified
}

fn volume(array: &Array, handle: &Handle) -> Value {
    array.sim.state().find_by("volumes", "name", handle.as_str()).unwrap().1.clone()
}

#[tokio::test]
async fn limits_policies_and_reserve_change_and_what_users_can_fill_stays() {
    use VolumeOption::*;
    let array = Array::new("ontap-nas", "").await;
    let (driver, handle) = (array.driver(), used(&array).await);
    let mut has = VolumeOptions::new();
    let size = driver.observe(&handle).await.unwrap().unwrap().size;
    let changes = [
        (QosPolicy, "gold"),
        (SnapshotPolicy, "default"),
        (SnapshotReserve, "20"),
        (TieringPolicy, "auto"),
        (SnapshotDir, "true"),
        (UnixPermissions, "0750"),
    ];
    let state = modify(driver.as_ref(), &handle, &mut has, &changes).await.unwrap().into_inner();
    assert_eq!((state.size, state.permitted.len()), (size, 1));
    let seen = volume(&array, &handle);
    assert_eq!(seen["qos"]["policy"]["name"], "gold");
    assert_eq!(seen["snapshot_policy"]["name"], "default");
    assert_eq!(seen["space"]["snapshot"]["reserve_percent"], 20);
    assert_eq!(seen["tiering"]["policy"], "auto");
    assert_eq!(seen["snapshot_directory_access_enabled"], true);
    assert_eq!(seen["nas"]["unix_permissions"], 750);
    assert!(seen["size"].as_u64().unwrap() >= size.get() * 5 / 4);
    // From one kind of limit to the other, and to none.
    let both = modify(driver.as_ref(), &handle, &mut has, &[(AdaptiveQosPolicy, "grows")]).await.unwrap_err();
    assert!(both.kind == ErrorKind::Invalid && both.to_string().contains("keep one of them"), "{both}");
    let change = [(QosPolicy, "none"), (AdaptiveQosPolicy, "grows")];
    modify(driver.as_ref(), &handle, &mut has, &change).await.unwrap();
    assert_eq!(volume(&array, &handle)["qos"]["policy"]["name"], "grows");
    modify(driver.as_ref(), &handle, &mut has, &[(AdaptiveQosPolicy, "none")]).await.unwrap();
    assert_eq!(volume(&array, &handle)["qos"]["policy"], Value::Null);
    modify(driver.as_ref(), &handle, &mut has, &[(SnapshotReserve, "0")]).await.unwrap();
    assert_eq!(volume(&array, &handle)["size"], size.get());
    assert_eq!(volume(&array, &handle)["nas"]["unix_permissions"], 750, "what is not named stays");
}

#[tokio::test]
async fn what_the_array_does_not_have_is_refused_and_nothing_changes() {
    let array = Array::new("ontap-nas", "").await;
    let (driver, handle) = (array.driver(), used(&array).await);
    let before = volume(&array, &handle);
    for (option, value, part) in [
        (VolumeOption::QosPolicy, "absent", "absent"),
        (VolumeOption::SnapshotPolicy, "absent", "absent"),
        (VolumeOption::TieringPolicy, "warm", "write one of"),
        (VolumeOption::SnapshotReserve, "99", "0 to 90"),
        (VolumeOption::Encryption, "true", "cannot be changed"),
    ] {
        let changes = [(VolumeOption::UnixPermissions, "0700"), (option, value)];
        let mut has = VolumeOptions::new();
        let error = modify(driver.as_ref(), &handle, &mut has, &changes).await.unwrap_err();
        assert!(
            matches!(error.kind, ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::NotFound),
            "{error:?}"
        );
        assert!(error.to_string().contains(part), "{option}: {error}");
        assert_eq!(volume(&array, &handle), before, "{option}");
    }
}

#[tokio::test]
async fn volumes_that_share_a_flexvol_have_limits_of_their_own() {
    use VolumeOption::*;
    for (kind, table) in [("ontap-nas-economy", "qtrees"), ("ontap-san-economy", "luns")] {
        let array = Array::new(kind, "").await;
        let (driver, handle) = (array.driver(), used(&array).await);
        let limit = || {
            let state = array.sim.state();
            let own = |record: &Value| record["name"].as_str().unwrap().ends_with(handle.as_str());
            let (_, record) = state.entries(table, "").find(|(_, record)| own(record)).unwrap();
            record["qos_policy"]["name"].clone()
        };
        let mut has = VolumeOptions::new();
        modify(driver.as_ref(), &handle, &mut has, &[(QosPolicy, "gold")]).await.unwrap();
        assert_eq!(limit(), "gold", "{kind}");
        modify(driver.as_ref(), &handle, &mut has, &[(QosPolicy, "none")]).await.unwrap();
        assert_eq!(limit(), Value::Null, "{kind}");
    }
}
