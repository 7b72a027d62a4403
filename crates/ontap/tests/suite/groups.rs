//! Consistency groups: ours last no longer than they are needed, and those of others are never touched.

use driver::conformance::Fixture;
use driver::{Driver, ErrorKind, GroupSnapshot, Groups};
use model::{Handle, SnapshotName};
use serde_json::{Value, json};
use sim_ontap::{Effect, Fault};

use crate::array::{Array, request};

const DRIVERS: [(&str, &str); 3] =
    [("ontap-nas", ""), ("ontap-san", "sanType: iscsi"), ("ontap-san", "sanType: nvme")];
/// More changing calls than any operation makes.
const MOST: usize = 12;

async fn volumes(driver: &dyn Driver, names: [&str; 2]) -> [Handle; 2] {
    let volumes = names.map(|name| request(driver, name));
    for volume in &volumes {
        driver.create(volume).await.unwrap();
    }
    volumes.map(|volume| volume.handle)
}

fn group(members: &[Handle], name: &str) -> GroupSnapshot {
    GroupSnapshot { members: members.iter().cloned().collect(), snapshot: SnapshotName::new(name).unwrap() }
}

fn groups(driver: &dyn Driver) -> &dyn Groups {
    driver.snapshots().unwrap().groups().unwrap()
}

/// Names of the consistency groups on the array.
fn bound(array: &Array) -> Vec<String> {
    let state = array.sim.state();
    state.list("consistency_groups").map(|group| group["name"].as_str().unwrap().to_owned()).collect()
}

/// Somebody at the array makes a consistency group.
async fn bind(array: &Array, name: &str, volumes: &[&Handle]) {
    let member = |volume: &&Handle| json!({"name": volume, "provisioning_options": {"action": "add"}});
    let members: Vec<Value> = volumes.iter().map(member).collect();
    let body = json!({"name": name, "svm": {"name": "svm1"}, "volumes": members});
    array.ask("/application/consistency-groups", body).await;
}

async fn names(driver: &dyn Driver, handle: &Handle) -> Vec<String> {
    let listed = driver.snapshots().unwrap().list_snapshots(handle).await.unwrap();
    listed.into_iter().map(|seen| seen.name.to_string()).collect()
}

#[tokio::test]
async fn whichever_reply_is_lost_the_repeat_ends_with_all_snapshots_and_no_group() {
    for (kind, rest) in DRIVERS {
        for take_back in [false, true] {
            let array = Array::new(kind, rest).await;
            let driver = array.driver();
            driver.pools().await.unwrap();
            let groups = groups(driver.as_ref());
            for nth in 0.. {
                assert!(nth < MOST, "more than {MOST} changing calls");
                let members = volumes(driver.as_ref(), [&format!("a{nth}"), &format!("b{nth}")]).await;
                let request = group(&members, "g");
                for calls in ["POST *", "PATCH *", "DELETE *"] {
                    let effect = Effect::ApplyAndDrop;
                    let fault = Fault {
                        calls: calls.to_owned(),
                        containing: None,
                        after: nth,
                        times: Some(1),
                        effect,
                    };
                    array.sim.faults().add(fault);
                }
                let before = array.sim.faults().met();
                let first = groups.take_group(&request).await;
                let met = array.sim.faults().met() > before;
                array.sim.faults().clear();
                if let Err(error) = &first {
                    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
                }
                let expected: &[&str] = if take_back { &[] } else { &["g"] };
                match take_back {
                    true => drop(groups.delete_group(&request).await.unwrap()),
                    false => drop(groups.take_group(&request).await.unwrap()),
                }
                for handle in &members {
                    assert_eq!(names(driver.as_ref(), handle).await, expected, "reply {nth} lost");
                }
                assert_eq!(bound(&array), [""; 0], "reply {nth} lost");
                if !met {
                    assert!(nth > 0, "no reply was lost at all");
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_volume_in_a_group_of_others_is_refused_by_its_name_and_the_group_stays() {
    let array = Array::new("ontap-nas", "").await;
    let driver = array.driver();
    let [a, b] = volumes(driver.as_ref(), ["a", "b"]).await;
    bind(&array, "finance", &[&b]).await;
    let request = group(&[a.clone(), b.clone()], "g");
    let refusal = groups(driver.as_ref()).take_group(&request).await.unwrap_err();
    assert_eq!(refusal.kind, ErrorKind::Conflict, "{refusal}");
    let text = refusal.to_string();
    assert!(text.contains("`finance`") && text.contains(b.as_str()) && !text.contains(a.as_str()), "{text}");
    groups(driver.as_ref()).delete_group(&request).await.unwrap();
    let refusal = driver.delete(&b).await.unwrap_err();
    assert!(refusal.to_string().contains("`finance`"), "{refusal}");
    assert_eq!(bound(&array), ["finance"]);
    assert_eq!(names(driver.as_ref(), &a).await, [""; 0]);
}

#[tokio::test]
async fn what_a_death_of_ours_has_left_bound_is_bound_anew_and_deleted() {
    let array = Array::new("ontap-nas", "").await;
    let driver = array.driver();
    let [a, b] = volumes(driver.as_ref(), ["a", "b"]).await;
    let groups = groups(driver.as_ref());
    // A process that dies when its group is made: the next call never comes.
    let die = async |request: &GroupSnapshot| {
        let fault = Fault {
            calls: "POST *".to_owned(),
            containing: None,
            after: 1,
            times: None,
            effect: Effect::Drop,
        };
        array.sim.faults().add(fault);
        groups.take_group(request).await.unwrap_err();
        array.sim.faults().clear();
        assert_eq!(bound(&array).len(), 1);
    };
    die(&group(&[a.clone(), b.clone()], "first")).await;
    groups.take_group(&group(&[a.clone(), b.clone()], "second")).await.unwrap();
    assert_eq!(bound(&array), [""; 0]);
    assert_eq!(names(driver.as_ref(), &a).await, ["second"]);
    die(&group(&[a.clone(), b.clone()], "third")).await;
    driver.delete(&a).await.unwrap();
    assert_eq!(bound(&array), [""; 0]);
}

#[tokio::test]
async fn a_snapshot_of_that_name_by_hand_is_neither_taken_for_ours_nor_deleted() {
    let array = Array::new("ontap-nas", "").await;
    let driver = array.driver();
    let members = volumes(driver.as_ref(), ["a", "b"]).await;
    for handle in &members {
        array.snap_by_hand(handle, "g").await;
    }
    let (request, groups) = (group(&members, "g"), groups(driver.as_ref()));
    let refusal = groups.take_group(&request).await.unwrap_err();
    assert_eq!(refusal.kind, ErrorKind::Conflict, "{refusal}");
    groups.delete_group(&request).await.unwrap();
    assert_eq!(array.sim.state().list("snapshots").count(), 2);
    assert_eq!(bound(&array), [""; 0]);
}

#[tokio::test]
async fn who_cannot_take_them_says_why() {
    for kind in ["ontap-nas-flexgroup", "ontap-nas-economy", "ontap-san-economy"] {
        let array = Array::new(kind, "").await;
        let driver = array.driver();
        if let Some(snapshots) = driver.snapshots() {
            assert!(snapshots.groups().is_err_and(|reason| reason.contains("FlexVols")), "{kind}");
        }
    }
}
