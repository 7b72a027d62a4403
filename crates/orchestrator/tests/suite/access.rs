//! Permits follow publications.

use std::time::Duration;

use model::{AccessMode, Bytes, NodeIdentity};
use orchestrator::{CreateRequest, ErrorKind, Orchestrator, Request};

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

fn exclusive(name: &str) -> Request {
    let access = Some(AccessMode::ReadWriteOnce);
    Request::Create(Box::new(CreateRequest { access, ..CreateRequest::named(id(name)) }))
}

fn fence(name: &str, from: &str) -> Request {
    Request::Fence { volume: id(name), node: node(from) }
}

#[test]
fn a_volume_moves_by_force_and_the_node_that_lost_it_gets_it_back_only_after_it_has_let_go() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, exclusive("v")).await.unwrap();
        run(&o, publish("v", "n1")).await.unwrap();
        let refusal = run(&o, publish("v", "n2")).await.unwrap_err().sentence();
        assert!(refusal.contains("is in use on node `n1` since 2"), "{refusal}");
        assert!(refusal.contains("leister fence volume v --node n1"), "{refusal}");
        run(&o, fence("v", "n1")).await.unwrap();
        assert!(house.array.permits(&handle("v")).is_empty());
        // Nobody gives it back behind the back of the node, not even after a restart.
        o.stop().await;
        let o = house.open().await;
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert!(house.array.permits(&handle("v")).is_empty());
        let error = run(&o, publish("v", "n1")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
        run(&o, publish("v", "n2")).await.unwrap();
        assert_eq!(house.array.permits(&handle("v")), [node("n2")].into());
        run(&o, unpublish("v", "n1")).await.unwrap();
        run(&o, unpublish("v", "n2")).await.unwrap();
        run(&o, publish("v", "n1")).await.unwrap();
        house.check(&o);
    });
}

#[test]
fn a_forced_publication_takes_the_volume_from_the_node_that_has_it() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, exclusive("v")).await.unwrap();
        run(&o, publish("v", "n1")).await.unwrap();
        let forced = Request::Publish {
            volume: id("v"),
            node: node("n2"),
            read_only: false,
            force: true,
            kept: false,
        };
        run(&o, forced).await.unwrap();
        house.check(&o);
        assert_eq!(house.array.permits(&handle("v")), [node("n2")].into());
    });
}

#[test]
fn fencing_a_node_that_does_not_exist_is_refused_and_one_without_the_volume_is_no_error() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, exclusive("v")).await.unwrap();
        assert_eq!(run(&o, fence("v", "n9")).await.unwrap_err().kind, ErrorKind::NotFound);
        run(&o, fence("v", "n2")).await.unwrap();
        run(&o, publish("v", "n2")).await.unwrap();
        house.check(&o);
    });
}

#[test]
fn permits_are_made_again_when_the_address_of_their_node_changes() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, exclusive("v")).await.unwrap();
        run(&o, create("w", Bytes::gib(1))).await.unwrap();
        run(&o, publish("v", "n2")).await.unwrap();
        run(&o, publish("w", "n1")).await.unwrap();
        let before = house.faults().count(driver::memory::Call::Permit);
        let moved =
            NodeIdentity { addresses: vec!["10.0.0.7".parse().unwrap()], ..NodeIdentity::named(node("n2")) };
        // The backend does not answer at first.
        house.faults().plan(
            driver::memory::Call::Permit,
            1,
            driver::memory::Fault::Refuse(ErrorKind::Internal),
        );
        o.register_node(moved.clone()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert_eq!(
            house.faults().count(driver::memory::Call::Permit),
            before + 2,
            "once more after the refusal"
        );
        o.register_node(moved).await.unwrap();
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert_eq!(house.faults().count(driver::memory::Call::Permit), before + 2, "nothing has changed");
        house.check(&o);
    });
}

#[test]
fn a_publication_that_is_kept_stays_so_until_it_is_taken_back() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, exclusive("v")).await.unwrap();
        let kept = Request::Publish {
            volume: id("v"),
            node: node("n1"),
            read_only: false,
            force: false,
            kept: true,
        };
        let is_kept = |o: &Orchestrator| {
            o.catalogue()
                .volume(&id("v"))
                .unwrap()
                .publication(&node("n1"))
                .map(|publication| publication.kept)
        };
        run(&o, publish("v", "n1")).await.unwrap();
        assert_eq!(is_kept(&o), Some(false));
        run(&o, kept).await.unwrap();
        // Whoever mounts it besides does not change that, and neither does a restart.
        run(&o, publish("v", "n1")).await.unwrap();
        o.stop().await;
        let o = house.open().await;
        assert_eq!(is_kept(&o), Some(true));
        run(&o, unpublish("v", "n1")).await.unwrap();
        assert_eq!(is_kept(&o), None);
        run(&o, publish("v", "n1")).await.unwrap();
        assert_eq!(is_kept(&o), Some(false));
        house.check(&o);
    });
}
