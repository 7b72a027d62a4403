//! Arrays that are not as the file says, or that answer nonsense: each refusal names the key to look at.

use driver::ErrorKind;
use driver::conformance::Fixture;
use model::{Permit, SnapshotName};
use serde_json::{Value, json};
use sim_ontap::{Body, Builder, Clock, Effect, Fault, Sim};

use crate::array::{Array, request};
use crate::opening::opened;

const NAS: &str = "storageDriverName: ontap-nas\nusername: admin\n";

async fn sim(change: impl FnOnce(Builder) -> Builder) -> Sim {
    change(Sim::builder().svm("svm1").user("admin", "netapp123")).start().await.unwrap()
}

async fn refusal(sim: &Sim, rest: &str) -> (ErrorKind, String) {
    opened(sim, &format!("{NAS}{rest}")).await.unwrap_err()
}

/// Changes what is below a path of the array, as an administrator would.
async fn patch(sim: &Sim, table: &str, path: &str, body: Value) {
    let uuids: Vec<String> =
        sim.state().list(table).map(|record| record["uuid"].as_str().unwrap().to_owned()).collect();
    for uuid in uuids {
        let (status, answer) = sim.ask("PATCH", &format!("{path}/{uuid}"), body.clone()).await;
        assert!((200..300).contains(&status), "{status} {answer}");
    }
    sim.finish_jobs();
}

fn always(calls: &str, effect: Effect) -> Fault {
    Fault { calls: calls.to_owned(), containing: None, after: 0, times: None, effect }
}

#[tokio::test]
async fn wrong_credentials_name_the_account() {
    let sim = sim(|sim| sim).await;
    let (kind, message) = refusal(&sim, "password: wrong\n").await;
    assert!(kind == ErrorKind::Denied && message.contains("`username` and `password`"), "{message}");
}

#[tokio::test]
async fn a_password_that_was_changed_behind_our_back_names_the_account() {
    let array = Array::new("ontap-nas", "").await;
    let driver = array.driver();
    let volume = request(driver.as_ref(), "v");
    driver.create(&volume).await.unwrap();
    assert!(array.sim.change_password("admin", "changed4567"));
    for refused in [driver.list().await.map(drop), driver.delete(&volume.handle).await.map(drop)] {
        let error = refused.unwrap_err();
        let message = error.to_string();
        assert!(
            error.kind == ErrorKind::Denied && message.contains("`username` and `password`"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_wrong_or_stopped_svm_names_it() {
    let sim = sim(|sim| sim).await;
    let (kind, message) = refusal(&sim, "password: netapp123\nsvm: other\n").await;
    assert!(kind == ErrorKind::NotFound && message.contains("`svm` in the backend file"), "{message}");
    patch(&sim, "svms", "/svm/svms", json!({"state": "stopped"})).await;
    let (kind, message) = refusal(&sim, "password: netapp123\nsvm: svm1\n").await;
    assert!(kind == ErrorKind::Unreachable && message.contains("is stopped"), "{message}");
    assert!(message.contains("`svm` of the backend file"), "{message}");
}

#[tokio::test]
async fn interfaces_that_are_down_are_told() {
    let sim = sim(|sim| sim).await;
    patch(&sim, "interfaces", "/network/ip/interfaces", json!({"enabled": false})).await;
    let (kind, message) = refusal(&sim, "password: netapp123\n").await;
    assert!(kind == ErrorKind::Unreachable && message.contains("no data interface"), "{message}");
}

#[tokio::test]
async fn aggregates_that_the_svm_does_not_have_are_told() {
    let sim = sim(|sim| sim.aggregate("aggr1", 1 << 40, "ssd").aggregate("aggr2", 1 << 40, "ssd")).await;
    patch(&sim, "svms", "/svm/svms", json!({"aggregates": [{"name": "aggr1"}]})).await;
    let (kind, message) = refusal(&sim, "password: netapp123\naggregate: aggr2\n").await;
    assert!(kind == ErrorKind::NotFound && message.contains("`aggregate` of the backend file"), "{message}");
    patch(&sim, "svms", "/svm/svms", json!({"aggregates": []})).await;
    let (kind, message) = refusal(&sim, "password: netapp123\n").await;
    assert!(kind == ErrorKind::NotFound && message.contains("has no aggregates"), "{message}");
}

#[tokio::test]
async fn a_foreign_certificate_names_the_authority() {
    let (ours, other) = (sim(|sim| sim).await, sim(|sim| sim).await);
    let indented = other.certificate().unwrap().replace('\n', "\n  ");
    let (kind, message) =
        refusal(&ours, &format!("password: netapp123\ntrustedCACertificate: |\n  {indented}\n")).await;
    assert!(kind == ErrorKind::Unreachable && message.contains("`trustedCACertificate`"), "{message}");
}

#[tokio::test]
async fn plain_http_where_tls_is_spoken_names_the_address() {
    let sim = sim(|sim| sim.http()).await;
    let (kind, message) = refusal(&sim, "password: netapp123\n").await;
    assert!(kind == ErrorKind::Unreachable && message.contains("`managementLIF`"), "{message}");
}

#[tokio::test]
async fn a_page_instead_of_json_names_the_address() {
    for status in [200, 404] {
        let sim = sim(|sim| sim).await;
        let page = Body::Text("text/html".to_owned(), "<html><body>login</body></html>".to_owned());
        sim.faults().add(always("*", Effect::Answer { status, body: page, headers: Vec::new() }));
        let (_, message) = refusal(&sim, "password: netapp123\n").await;
        assert!(message.contains("`managementLIF`"), "{status}: {message}");
    }
}

#[tokio::test]
async fn half_an_answer_is_made_good_by_the_repeat() {
    let array = Array::new("ontap-nas", "").await;
    let driver = array.driver();
    driver.pools().await.unwrap();
    let volume = request(driver.as_ref(), "v");
    array.sim.faults().once("POST /storage/volumes", Effect::ApplyAndTruncate);
    let error = driver.create(&volume).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    driver.create(&volume).await.unwrap();
    assert_eq!(driver.list().await.unwrap().len(), 1);
    array.sim.faults().once("GET /storage/volumes", Effect::ApplyAndTruncate);
    let error = driver.observe(&volume.handle).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn an_array_whose_clock_is_wrong_keeps_its_order() {
    let start = "1999-12-31T23:59:59Z".parse().unwrap();
    let clock = Clock::virtual_at(start);
    let array = Array::with("ontap-nas", "", |sim| sim.clock(clock.clone())).await;
    let driver = array.driver();
    let volume = request(driver.as_ref(), "v");
    driver.create(&volume).await.unwrap();
    let snapshots = driver.snapshots().unwrap();
    for name in ["one", "two"] {
        clock.advance(std::time::Duration::from_secs(60));
        snapshots.take(&volume.handle, &SnapshotName::new(name).unwrap()).await.unwrap();
    }
    let listed = snapshots.list_snapshots(&volume.handle).await.unwrap();
    assert_eq!(listed.iter().map(|seen| seen.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(listed[0].created, start + jiff::SignedDuration::from_secs(60));
    let one = SnapshotName::new("one").unwrap();
    let refused = snapshots.restore(&volume.handle, &one).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::InUse, "{refused}");
}

#[tokio::test]
async fn an_account_of_the_svm_is_enough() {
    let array = Array::with("ontap-nas", "", |sim| sim.svm_user("svm1", "vsadmin", "secret123")).await;
    let own = array.as_user("vsadmin", "secret123", "").await.unwrap();
    let pools = own.pools().await.unwrap();
    assert!(pools[0].capacity.free_thick > model::Bytes::gib(1), "{pools:?}");
    let volume = request(own.as_ref(), "v");
    own.create(&volume).await.unwrap();
    let permit = Permit::exclusive(array.nodes()[0].clone());
    own.permit(&volume.handle, &permit).await.unwrap();
    own.forbid(&volume.handle, &permit.node).await.unwrap();
    own.delete(&volume.handle).await.unwrap();
    // What only the cluster's account can see cannot be limited.
    let limited = array.as_user("vsadmin", "secret123", "limitAggregateUsage: 80%").await.unwrap();
    let refused = limited.pools().await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Denied, "{refused}");
}

#[tokio::test]
async fn the_recovery_queue_is_left_out_where_the_volume_says_so() {
    let array = Array::new("ontap-nas", "").await;
    let driver = array.driver();
    for (name, skip, queued) in [("kept", "false", 1), ("purged", "true", 1)] {
        let mut volume = request(driver.as_ref(), name);
        volume.spec.options.insert(model::VolumeOption::SkipRecoveryQueue, skip.to_owned());
        driver.create(&volume).await.unwrap();
        driver.delete(&volume.handle).await.unwrap();
        assert_eq!(array.sim.state().list("_recovery_queue").count(), queued, "{name}");
    }
}

#[tokio::test]
async fn a_dead_array_delays_no_other() {
    let (dead, alive) = (Array::new("ontap-nas", "").await, Array::new("ontap-nas", "").await);
    dead.sim.faults().add(always("*", Effect::Stall { milliseconds: None }));
    let (stuck, driver) = (dead.driver(), alive.driver());
    let waiting = tokio::spawn(async move { stuck.list().await });
    let volume = request(driver.as_ref(), "v");
    driver.create(&volume).await.unwrap();
    driver.delete(&volume.handle).await.unwrap();
    assert!(!waiting.is_finished(), "the dead array has answered");
    waiting.abort();
    dead.sim.faults().release();
}
