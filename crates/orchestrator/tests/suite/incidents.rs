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
        // The mount that failed has left nothing that stands in the way.
        assert!(o.catalogue().volume(&id("v")).unwrap().published.is_empty());
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
fn an_adopted_volume_is_what_it_was_made_as() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        let mut request = orchestrator::CreateRequest::named(id("v"));
        request.filesystem = Some(model::Filesystem::Xfs);
        request.labels = [("app".to_owned(), "db".to_owned())].into();
        run(&o, Request::Create(Box::new(request))).await.unwrap();
        run(&o, grow("v", Bytes::gib(3))).await.unwrap();
        let before = o.catalogue().volume(&id("v")).unwrap();
        o.run(Request::Forget { volume: id("v") }).await.unwrap();
        run(&o, Request::Adopt { volume: id("v"), backend: backend() }).await.unwrap();
        assert_eq!(o.catalogue().volume(&id("v")).unwrap().spec, before.spec);
    });
}

#[test]
fn a_volume_in_use_is_not_forgotten() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, create("v", Bytes::gib(1))).await.unwrap();
        run(&o, publish("v", "n1")).await.unwrap();
        let error = o.run(Request::Forget { volume: id("v") }).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InUse, "{error}");
        run(&o, unpublish("v", "n1")).await.unwrap();
        o.run(Request::Forget { volume: id("v") }).await.unwrap();
    });
}

#[test]
fn what_is_left_of_a_backend_that_is_not_known_yet_waits_for_it() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        house.faults().always(driver::memory::Call::Create, driver::memory::Fault::Hang);
        drop(o.submit(create("v", Bytes::gib(1))).unwrap());
        until("it hangs", || house.faults().count(driver::memory::Call::Create) == 1).await;
        house.faults().lift();
        let o = house.open_without_backend().await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(o.operations().is_empty(), "{:?}", o.operations());
        house.add_backend(&o).await;
        settled(&o).await;
        house.check(&o);
    });
}

#[test]
fn the_doctor_tells_of_a_pool_that_is_nearly_full() {
    block_on(async {
        let house = House::of(Bytes::gib(10));
        let o = house.open().await;
        run(&o, create("v", Bytes::new(Bytes::gib(10).get() / 100 * 95))).await.unwrap();
        tokio::time::sleep(Duration::from_secs(20)).await;
        let findings = o.doctor().await;
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].subject, "pool array/memory");
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
