//! Operations outlive their callers; equal ones join; different ones wait their turn.

use std::time::Duration;

use driver::memory::{Call, Fault};
use model::Bytes;
use orchestrator::{ErrorKind, OperationState, Request, Verb};

use crate::house::*;

#[test]
fn the_same_request_joins_the_running_one() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        let first = o.submit(create("v", Bytes::gib(1))).unwrap();
        let second = o.submit(create("v", Bytes::gib(1))).unwrap();
        assert!(!first.joined && second.joined);
        assert_eq!(first.operation, second.operation);
        first.wait().await.unwrap();
        second.wait().await.unwrap();
        assert_eq!(house.faults().count(Call::Create), 1);
    });
}

#[test]
fn a_different_request_on_the_same_volume_is_told_who_is_busy() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        let first = o.submit(create("v", Bytes::gib(1))).unwrap();
        let error = o.submit(delete("v")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Busy);
        assert!(error.message.contains(&format!("create ({})", first.operation)), "{error}");
        run(&o, delete("v")).await.unwrap();
        assert_eq!(o.catalogue().volume_count(), 0);
    });
}

#[test]
fn who_asks_for_something_waits_for_what_mends_the_volume() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, create("v", Bytes::gib(1))).await.unwrap();
        o.submit(Request::Reconcile { volume: id("v"), strays: Vec::new() }).unwrap();
        assert_eq!(o.submit(grow("v", Bytes::gib(2))).unwrap_err().kind, ErrorKind::Busy);
        o.run(grow("v", Bytes::gib(2))).await.unwrap();
        house.check(&o);
    });
}

#[test]
fn the_work_goes_on_when_its_caller_leaves() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        drop(o.submit(create("v", Bytes::gib(1))).unwrap());
        until("the volume is there", || o.catalogue().volume(&id("v")).is_some_and(|v| v.settled)).await;
        house.check(&o);
        let operation = &o.operations()[0];
        assert!(matches!(operation.state, OperationState::Done) && operation.verb == Verb::Create);
    });
}

#[test]
fn one_hanging_volume_delays_no_other_and_no_read() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        house.faults().plan(Call::Create, 1, Fault::Hang);
        let hanging = o.submit(create("slow", Bytes::gib(1))).unwrap();
        until("it hangs", || house.faults().count(Call::Create) == 1).await;
        let started = tokio::time::Instant::now();
        for n in 0..20 {
            run(&o, create(&format!("v{n}"), Bytes::mib(1))).await.unwrap();
        }
        assert!(o.catalogue().volume_count() > 20);
        assert!(started.elapsed() < Duration::from_secs(1), "virtual time passed: {:?}", started.elapsed());
        hanging.wait().await.unwrap();
        house.check(&o);
    });
}

#[test]
fn a_storm_of_creates_does_not_starve_deletes() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, create("old", Bytes::mib(1))).await.unwrap();
        house.faults().always(Call::Create, Fault::Hang);
        let storm: Vec<_> =
            (0..200).map(|n| o.submit(create(&format!("v{n}"), Bytes::mib(1))).unwrap()).collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let started = tokio::time::Instant::now();
        run(&o, delete("old")).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(1), "virtual time passed: {:?}", started.elapsed());
        house.faults().lift();
        for ticket in storm {
            let _ = ticket.wait().await;
        }
        settled(&o).await;
        house.check(&o);
    });
}

#[test]
fn stopping_waits_for_what_runs_and_takes_nothing_new() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        let ticket = o.submit(create("v", Bytes::gib(1))).unwrap();
        o.stop().await;
        ticket.wait().await.unwrap();
        assert_eq!(o.submit(create("w", Bytes::gib(1))).unwrap_err().kind, ErrorKind::Unreachable);
    });
}
