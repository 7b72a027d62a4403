//! Permits follow publications.

use std::time::Duration;

use model::{AccessMode, Bytes};
use orchestrator::{CreateRequest, ErrorKind, Request};

use crate::house::*;

#[test]
fn a_permit_removed_behind_our_back_is_back_within_the_drift_period() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, create("v", Bytes::gib(1))).await.unwrap();
        run(&o, publish("v", "n1")).await.unwrap();
        house.array.set_permits(&handle("v"), []);
        tokio::time::sleep(Duration::from_secs(61)).await;
        house.check(&o);
    });
}

#[test]
fn a_permit_nobody_asked_for_stays_for_the_grace_period_and_then_goes() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, create("v", Bytes::gib(1))).await.unwrap();
        house.array.set_permits(&handle("v"), [node("n2")]);
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert_eq!(house.array.permits(&handle("v")).len(), 1);
        tokio::time::sleep(Duration::from_secs(200)).await;
        house.check(&o);
    });
}

#[test]
fn a_restart_takes_no_permit_away() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        for n in 0..20 {
            run(&o, create(&format!("v{n}"), Bytes::mib(1))).await.unwrap();
            run(&o, publish(&format!("v{n}"), "n1")).await.unwrap();
        }
        o.stop().await;
        let before = house.faults().count(driver::memory::Call::Forbid);
        let o = house.open().await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        house.check(&o);
        assert_eq!(house.faults().count(driver::memory::Call::Forbid), before);
    });
}

#[test]
fn an_exclusive_volume_is_refused_to_a_second_node_by_name_of_the_first() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        let exclusive =
            CreateRequest { access: Some(AccessMode::ReadWriteOnce), ..CreateRequest::named(id("v")) };
        run(&o, Request::Create(Box::new(exclusive))).await.unwrap();
        run(&o, publish("v", "n1")).await.unwrap();
        let error = run(&o, publish("v", "n2")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InUse);
        assert!(error.message.contains("`n1`"), "{error}");
        run(&o, unpublish("v", "n1")).await.unwrap();
        run(&o, publish("v", "n2")).await.unwrap();
        house.check(&o);
    });
}

#[test]
fn a_volume_in_use_is_not_deleted() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, create("v", Bytes::gib(1))).await.unwrap();
        run(&o, publish("v", "n1")).await.unwrap();
        let error = run(&o, delete("v")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InUse);
        assert!(error.message.contains("n1"), "{error}");
        house.check(&o);
    });
}
