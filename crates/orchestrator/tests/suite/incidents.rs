//! What happens behind our back is reported, never papered over.

use std::time::Duration;

use model::{Bytes, InstanceId};
use orchestrator::{ErrorKind, Request, VolumeStatus};

use crate::house::*;

#[test]
fn a_vanished_volume_is_missing_and_never_created_anew() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, create("v", Bytes::gib(1))).await.unwrap();
        house.array.lose(&handle("v"));
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(o.catalogue().volume(&id("v")).unwrap().status(), VolumeStatus::Missing);
        for request in
            [create("v", Bytes::gib(1)), publish("v", "n1"), grow("v", Bytes::gib(2)), take("v", "s")]
        {
            let error = run(&o, request.clone()).await.expect_err("it is missing");
            assert!(matches!(error.kind, ErrorKind::NotFound | ErrorKind::Busy), "{request:?}: {error}");
        }
        assert!(house.array.handles().is_empty());
        let findings = o.doctor().await;
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(
            findings[0].problem.contains("missing") && findings[0].advice.contains("leister forget volume v")
        );
        o.run(Request::Forget { volume: id("v") }).await.unwrap();
        assert!(o.doctor().await.is_empty());
    });
}

#[test]
fn a_missing_volume_that_comes_back_is_ready_again() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, create("v", Bytes::gib(1))).await.unwrap();
        house.array.hide(&handle("v"));
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(o.catalogue().volume(&id("v")).unwrap().status(), VolumeStatus::Missing);
        house.array.show(&handle("v"));
        tokio::time::sleep(Duration::from_secs(61)).await;
        house.check(&o);
    });
}

#[test]
fn somebody_elses_volume_of_the_same_name_is_left_alone() {
    for owner in [None, Some(InstanceId::new("other").unwrap())] {
        block_on(async {
            let house = House::new();
            let o = house.open().await;
            house.array.plant(&handle("v"), Bytes::gib(1), owner.clone(), 9);
            let error = run(&o, create("v", Bytes::gib(1))).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
            settled(&o).await;
            assert_eq!(house.array.read(&handle("v")), Some(9));
            assert_eq!(o.catalogue().volume_count(), 0);
        });
    }
}

#[test]
fn an_orphan_is_found_by_the_doctor_and_adopted_with_its_snapshots() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, create("v", Bytes::gib(1))).await.unwrap();
        run(&o, take("v", "s")).await.unwrap();
        o.run(Request::Forget { volume: id("v") }).await.unwrap();
        let findings = o.doctor().await;
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].advice, "leister adopt array v");
        assert_eq!(o.orphans(None).await.unwrap().len(), 1);
        run(&o, Request::Adopt { volume: id("v"), backend: backend() }).await.unwrap();
        house.check(&o);
        assert!(o.doctor().await.is_empty());
    });
}

#[test]
fn a_writer_that_lost_its_lease_writes_no_more() {
    block_on(async {
        let house = House::new();
        let old = house.open().await;
        run(&old, create("v", Bytes::gib(1))).await.unwrap();
        let new = house.open().await;
        let error = run(&old, create("w", Bytes::gib(1))).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        assert!(error.sentence().contains("lease has moved on"), "{}", error.sentence());
        assert!(old.is_ready().unwrap_err().contains("another instance"));
        run(&new, create("w", Bytes::gib(1))).await.unwrap();
        settled(&new).await;
        house.check(&new);
    });
}
