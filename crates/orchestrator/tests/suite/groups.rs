//! Snapshots of several volumes: one instant, one name, one end.

use driver::ErrorKind as Kind;
use driver::config::BackendFile;
use driver::memory::Call;
use model::Bytes;
use orchestrator::{BackendOrigin, Orchestrator, Request};

use crate::house::*;

async fn two_volumes(house: &House) -> Orchestrator {
    let o = house.open().await;
    for (name, content) in [("v", 1), ("w", 2)] {
        run(&o, create(name, Bytes::gib(1))).await.unwrap();
        house.array.write(&handle(name), content);
    }
    o
}

/// Refused so, and nothing is changed by it.
async fn refused(house: &House, o: &Orchestrator, request: Request, kind: Kind, words: &[&str]) {
    let before: Vec<_> = o.catalogue().snapshots().cloned().collect();
    let error = run(o, request.clone()).await.expect_err("it must be refused");
    assert_eq!(error.kind, kind, "{request:?}: {error}");
    let said = error.sentence();
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    assert_eq!(o.catalogue().snapshots().cloned().collect::<Vec<_>>(), before);
    house.check(o);
}

#[test]
fn members_are_restored_and_cloned_alone_and_deleted_only_together() {
    block_on(async {
        let house = House::new();
        let o = two_volumes(&house).await;
        run(&o, take_group(&["w", "v"], "g")).await.unwrap();
        for name in ["v", "w"] {
            house.array.write(&handle(name), 9);
        }
        run(&o, restore("v", "g")).await.unwrap();
        run(&o, clone("c", "w", Some("g"))).await.unwrap();
        let content = |name| house.array.read(&handle(name)).unwrap();
        assert_eq!((content("v"), content("w"), content("c")), (1, 9, 2));
        let alone = Request::DeleteSnapshot { volume: id("v"), snapshot: snap("g") };
        refused(&house, &o, alone, Kind::Invalid, &["`w`", "leister delete group g"]).await;
        let without = Request::Delete { volume: id("v"), with_snapshots: false };
        refused(&house, &o, without, Kind::InUse, &["1 snapshot"]).await;
        run(&o, delete("v")).await.unwrap();
        assert_eq!(o.catalogue().group(&snap("g")).len(), 1);
        run(&o, create("v", Bytes::gib(1))).await.unwrap();
        refused(&house, &o, take_group(&["v", "w"], "g"), Kind::Conflict, &["lost volumes"]).await;
        run(&o, delete_group(&["v", "w"], "g")).await.unwrap();
        assert_eq!(o.catalogue().snapshots().count(), 0);
        house.check(&o);
        refused(&house, &o, delete_group(&["v", "w"], "g"), Kind::NotFound, &["`g`"]).await;
    });
}

#[test]
fn what_cannot_be_taken_together_is_refused_before_anything_changes() {
    block_on(async {
        let house = House::new();
        let o = two_volumes(&house).await;
        let file = BackendFile::parse(&CONFIG.replace("array", "second"), "second").unwrap();
        o.add_backend(file, BackendOrigin::File("second.yaml".into()));
        until("the backend is open", || o.is_ready().is_ok()).await;
        let there = orchestrator::CreateRequest {
            backend: Some(model::BackendName::new("second").unwrap()),
            ..orchestrator::CreateRequest::named(id("x"))
        };
        run(&o, Request::Create(Box::new(there))).await.unwrap();
        let backends = take_group(&["v", "x"], "g");
        refused(&house, &o, backends, Kind::Unsupported, &["`array`", "`second`", "one backend"]).await;
        refused(&house, &o, take_group(&["v", "y"], "g"), Kind::NotFound, &["`y`"]).await;
        run(&o, take("w", "g")).await.unwrap();
        refused(&house, &o, take_group(&["v", "w"], "g"), Kind::Conflict, &["`w`", "alone"]).await;
        run(&o, take_group(&["v", "w"], "h")).await.unwrap();
        refused(&house, &o, take_group(&["v"], "h"), Kind::Conflict, &["`v`, `w`"]).await;
        refused(&house, &o, delete_group(&["v"], "h"), Kind::Conflict, &["`w`"]).await;
        assert_eq!(house.faults().count(Call::TakeGroup), 1);
    });
}

#[test]
fn hosts_without_a_common_store_take_none() {
    block_on(async {
        let house = House::new();
        let o = house.open_sharing("n1").await;
        run(&o, create("v", Bytes::gib(1))).await.unwrap();
        let error = run(&o, take_group(&["v"], "g")).await.unwrap_err();
        assert_eq!(error.kind, Kind::Unsupported, "{error}");
    });
}

#[test]
fn groups_of_the_same_volumes_at_the_same_time_do_not_wait_for_each_other_for_ever() {
    block_on(async {
        let house = House::new();
        let o = two_volumes(&house).await;
        let mut users = tokio::task::JoinSet::new();
        for n in 0..20 {
            let (o, name) = (o.clone(), format!("g{}", n % 5));
            let members: &[&str] = if n % 2 == 0 { &["v", "w"] } else { &["w"] };
            let request = take_group(members, &name);
            users.spawn(async move { run(&o, request).await });
        }
        let ended = users.join_all().await;
        assert!(ended.iter().any(Result::is_ok));
        settled(&o).await;
        house.check(&o);
    });
}
