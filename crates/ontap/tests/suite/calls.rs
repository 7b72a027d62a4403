//! What each operation costs in calls of the array; the table is in `NOTES.md`.

use driver::conformance::Fixture;
use driver::{CloneVolume, CreateVolume, GroupSnapshot, ModifyVolume};
use model::{Bytes, Permit, SnapshotName};

use crate::array::{Array, request};

/// Calls that `operation` makes.
async fn cost<T>(array: &Array, operation: impl Future<Output = driver::Result<T>>) -> usize {
    let before = array.sim.calls().total();
    operation.await.unwrap();
    array.sim.calls().total() - before
}

async fn costs(array: &Array) -> Vec<(&'static str, usize)> {
    let driver = array.driver();
    driver.pools().await.unwrap();
    let [volume, other]: [CreateVolume; 2] = ["v", "w"].map(|name| request(driver.as_ref(), name));
    let handle = volume.handle.clone();
    let permit = Permit::exclusive(array.nodes()[0].clone());
    let clone =
        CloneVolume { create: request(driver.as_ref(), "c"), source: other.handle.clone(), snapshot: None };
    let changes = array.changes();
    let change = ModifyVolume { handle: handle.clone(), changes, spec: volume.spec.clone() };
    let (pictures, snapshot) = (driver.snapshots(), SnapshotName::new("s").unwrap());
    let mut costs = vec![
        ("pools", cost(array, driver.pools()).await),
        ("create", cost(array, driver.create(&volume)).await),
        ("create, a further volume", cost(array, driver.create(&other)).await),
        ("observe", cost(array, driver.observe(&handle)).await),
        ("permit, a node's first", cost(array, driver.permit(&handle, &permit)).await),
        ("permit again", cost(array, driver.permit(&handle, &permit)).await),
        ("permit, a further volume", cost(array, driver.permit(&other.handle, &permit)).await),
        ("list", cost(array, driver.list()).await),
        ("forbid", cost(array, driver.forbid(&handle, &permit.node)).await),
        ("grow", cost(array, driver.resize().unwrap().grow(&handle, Bytes::gib(2))).await),
        ("modify", cost(array, driver.modify().unwrap().modify_volume(&change)).await),
    ];
    if let Some(snapshots) = pictures {
        costs.extend([
            ("take", cost(array, snapshots.take(&handle, &snapshot)).await),
            ("list snapshots", cost(array, snapshots.list_snapshots(&handle)).await),
            ("restore", cost(array, snapshots.restore(&handle, &snapshot)).await),
            ("clone, a volume's first", cost(array, snapshots.clones().unwrap().clone_volume(&clone)).await),
            ("delete snapshot", cost(array, snapshots.delete_snapshot(&handle, &snapshot)).await),
        ]);
    }
    if let Some(groups) = pictures.and_then(|snapshots| snapshots.groups().ok()) {
        let members = [handle.clone(), other.handle.clone()].into();
        let group = GroupSnapshot { members, snapshot: SnapshotName::new("g").unwrap() };
        costs.extend([
            ("take group, of two", cost(array, groups.take_group(&group)).await),
            ("delete group, of two", cost(array, groups.delete_group(&group)).await),
        ]);
    }
    costs.push(("delete", cost(array, driver.delete(&handle)).await));
    costs
}

#[tokio::test]
async fn each_operation_costs_as_many_calls_as_the_notes_say() {
    let notes = include_str!("../../NOTES.md");
    let mut all = Vec::new();
    for (driver, rest) in [
        ("ontap-nas", ""),
        ("ontap-san", "sanType: iscsi"),
        ("ontap-san", "sanType: nvme"),
        ("ontap-nas-economy", ""),
        ("ontap-san-economy", ""),
    ] {
        all.push(costs(&Array::new(driver, rest).await).await);
    }
    let row = |(name, _): &(&str, usize)| {
        let of =
            |costs: &Vec<(&str, usize)>| costs.iter().find(|(other, _)| other == name).map(|(_, cost)| *cost);
        let cells: Vec<String> =
            all.iter().map(|costs| of(costs).map_or("-".to_owned(), |cost| cost.to_string())).collect();
        format!("| {name} | {} |", cells.join(" | "))
    };
    let rows: Vec<String> = all[0].iter().map(row).collect();
    for row in &rows {
        assert!(
            notes.contains(row),
            "NOTES.md does not have this row:\n{row}\nall rows:\n{}",
            rows.join("\n")
        );
    }
}

#[tokio::test]
async fn ten_thousand_volumes_are_listed_in_ten_pages_and_cost_the_poll_of_pools_nothing() {
    const MANY: usize = 10_000;
    let array = Array::new("ontap-nas", "").await;
    array.plant_many(MANY).await;
    let driver = array.driver();
    let before = array.sim.calls().total();
    assert_eq!(driver.list().await.unwrap().len(), MANY);
    assert_eq!(array.sim.calls().total() - before, MANY / 1000);
    let pages = array.sim.calls().log();
    let longest = pages.iter().filter_map(|call| call.reply["num_records"].as_u64()).max();
    assert_eq!(longest, Some(1000), "a page is bounded");
    assert_eq!(cost(&array, driver.pools()).await, 1);
    assert_eq!(cost(&array, driver.observe(&request(driver.as_ref(), "m9999").handle)).await, 1);
}
