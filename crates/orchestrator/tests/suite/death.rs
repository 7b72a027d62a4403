//! The process dies at every point of every operation; a new one finishes or undoes what was begun.

use driver::ErrorKind as Kind;
use driver::memory::{Call, Fault};
use model::{Bytes, Labels};
use orchestrator::{ImportRequest, Orchestrator, Request};

use crate::house::*;

/// Prepares, then dies at the nth point of the request, for n = 1, 2, … until it gets through alive.
fn dies_at_every_point(
    size: Bytes,
    prepare: impl AsyncFn(&House, &Orchestrator),
    request: &Request,
    faults: impl Fn(&House),
    verdict: impl Fn(&House, &Orchestrator, bool),
) {
    for nth in 1.. {
        assert!(nth < 500, "the operation never ends");
        let house = House::of(size);
        let died = block_on(async {
            let o = house.open().await;
            prepare(&house, &o).await;
            faults(&house);
            house.faults().die_at(nth);
            tokio::select! {
                biased;
                () = house.faults().died() => true,
                _ = run(&o, request.clone()) => false,
            }
        });
        house.faults().lift();
        block_on(async {
            let o = house.open().await;
            settled(&o).await;
            house.check(&o);
            verdict(&house, &o, died);
            // The user tries again, as users do.
            let again = run(&o, request.clone()).await;
            settled(&o).await;
            house.check(&o);
            if let Err(error) = again {
                assert!(
                    matches!(error.kind, Kind::NotFound | Kind::NoCapacity | Kind::Conflict | Kind::Invalid),
                    "the second try after a death at point {nth}: {error}"
                );
            }
            o.stop().await;
        });
        if !died {
            // A commit and a call have two points each: fewer deaths would mean that nothing was interrupted.
            assert!(nth > 4, "it died {} times only", nth - 1);
            return;
        }
    }
}

async fn nothing(_: &House, _: &Orchestrator) {}

async fn one_volume(house: &House, o: &Orchestrator) {
    run(o, create("v", Bytes::gib(1))).await.unwrap();
    house.array.write(&handle("v"), 7);
}

async fn one_snapshot(house: &House, o: &Orchestrator) {
    one_volume(house, o).await;
    run(o, take("v", "s")).await.unwrap();
    house.array.write(&handle("v"), 8);
}

fn no_faults(_: &House) {}

fn no_verdict(_: &House, _: &Orchestrator, _: bool) {}

#[test]
fn a_create() {
    let request = create("v", Bytes::gib(1));
    dies_at_every_point(Bytes::gib(10), nothing, &request, no_faults, no_verdict);
}

#[test]
fn a_create_that_the_array_refuses() {
    let request = create("v", Bytes::gib(1));
    let refuse = |house: &House| house.faults().plan(Call::Create, 1, Fault::Refuse(Kind::Internal));
    dies_at_every_point(Bytes::gib(10), nothing, &request, refuse, no_verdict);
}

#[test]
fn a_create_that_does_not_fit_any_more() {
    // The space goes after the pools were last asked.
    let request = create("v", Bytes::gib(1));
    let full = |house: &House| house.array.plant(&handle("big"), Bytes::gib(10), None, 1);
    dies_at_every_point(Bytes::gib(10), nothing, &request, full, no_verdict);
}

#[test]
fn a_create_whose_reply_is_lost() {
    let request = create("v", Bytes::gib(1));
    let lose = |house: &House| house.faults().plan(Call::Create, 1, Fault::LoseReply);
    dies_at_every_point(Bytes::gib(10), nothing, &request, lose, no_verdict);
}

#[test]
fn a_delete() {
    dies_at_every_point(Bytes::gib(10), one_snapshot, &delete("v"), no_faults, no_verdict);
}

#[test]
fn a_grow() {
    let request = grow("v", Bytes::gib(2));
    dies_at_every_point(Bytes::gib(10), one_volume, &request, no_faults, |house, _, _| {
        assert_eq!(house.array.read(&handle("v")), Some(7));
    });
}

#[test]
fn a_grow_that_does_not_fit() {
    dies_at_every_point(Bytes::gib(2), one_volume, &grow("v", Bytes::gib(3)), no_faults, no_verdict);
}

#[test]
fn a_modification() {
    let has = |house: &House| {
        let mode =
            house.array.made_as(&handle("v")).unwrap().options.remove(&model::VolumeOption::UnixPermissions);
        mode.unwrap_or_default()
    };
    dies_at_every_point(
        Bytes::gib(10),
        one_volume,
        &modify("v", "0750"),
        no_faults,
        move |house, o, died| {
            let record = o.catalogue().volume(&id("v")).unwrap();
            let recorded = record.spec.options.get(&model::VolumeOption::UnixPermissions).cloned();
            assert_eq!(recorded.unwrap_or_default(), has(house));
            assert!(died || has(house) == "0750");
        },
    );
}

#[test]
fn a_modification_that_the_array_refuses() {
    dies_at_every_point(Bytes::gib(10), one_volume, &modify("v", "x"), no_faults, |house, o, _| {
        assert!(o.catalogue().volume(&id("v")).unwrap().spec.options.is_empty());
        assert!(house.array.made_as(&handle("v")).unwrap().options.is_empty());
    });
}

#[test]
fn a_snapshot() {
    dies_at_every_point(Bytes::gib(10), one_volume, &take("v", "s"), no_faults, no_verdict);
}

#[test]
fn a_snapshots_deletion() {
    let request = Request::DeleteSnapshot { volume: id("v"), snapshot: snap("s") };
    dies_at_every_point(Bytes::gib(10), one_snapshot, &request, no_faults, no_verdict);
}

async fn two_volumes(house: &House, o: &Orchestrator) {
    for name in ["v", "w"] {
        run(o, create(name, Bytes::gib(1))).await.unwrap();
        house.array.write(&handle(name), 7);
    }
}

/// Whether both volumes have it, on the array and in the records; half a group is neither.
fn has_group(house: &House, o: &Orchestrator, name: &str) -> bool {
    let there = |volume| house.array.snapshots(&handle(volume)).contains(&snap(name));
    assert_eq!(there("v"), there("w"), "half a group is left");
    let group = o.catalogue().group(&snap(name));
    assert_eq!(group.len(), if there("v") { 2 } else { 0 });
    there("v")
}

#[test]
fn a_group_snapshot() {
    let request = take_group(&["w", "v"], "g");
    dies_at_every_point(Bytes::gib(10), two_volumes, &request, no_faults, |house, o, died| {
        assert!(has_group(house, o, "g") || died);
    });
}

#[test]
fn a_group_snapshot_that_the_array_refuses() {
    let refuse = |house: &House| house.faults().always(Call::TakeGroup, Fault::Refuse(Kind::Internal));
    let request = take_group(&["v", "w"], "g");
    dies_at_every_point(Bytes::gib(10), two_volumes, &request, refuse, |house, o, died| {
        assert!(!has_group(house, o, "g") || died);
    });
}

#[test]
fn a_group_snapshot_whose_reply_is_lost_for_good() {
    let lose = |house: &House| house.faults().always(Call::TakeGroup, Fault::LoseReply);
    let request = take_group(&["v", "w"], "g");
    dies_at_every_point(Bytes::gib(10), two_volumes, &request, lose, |house, o, died| {
        assert!(!has_group(house, o, "g") || died);
    });
}

#[test]
fn a_group_snapshots_deletion() {
    let prepare = async |house: &House, o: &Orchestrator| {
        two_volumes(house, o).await;
        run(o, take_group(&["v", "w"], "g")).await.unwrap();
    };
    let request = delete_group(&["v", "w"], "g");
    dies_at_every_point(Bytes::gib(10), prepare, &request, no_faults, |house, o, died| {
        assert!(!has_group(house, o, "g") || died);
    });
}

#[test]
fn a_clone_of_a_snapshot() {
    let request = clone("c", "v", Some("s"));
    dies_at_every_point(Bytes::gib(10), one_snapshot, &request, no_faults, |house, _, _| {
        if let Some(content) = house.array.read(&handle("c")) {
            assert_eq!(content, 7, "a clone that is not empty");
        }
    });
}

#[test]
fn a_clone_of_a_volume() {
    dies_at_every_point(Bytes::gib(10), one_volume, &clone("c", "v", None), no_faults, no_verdict);
}

#[test]
fn a_restore() {
    dies_at_every_point(Bytes::gib(10), one_snapshot, &restore("v", "s"), no_faults, |house, _, died| {
        let content = house.array.read(&handle("v")).unwrap();
        assert!(content == 7 || (died && content == 8), "old or new, never neither: {content}");
    });
}

#[test]
fn a_publication() {
    dies_at_every_point(Bytes::gib(10), one_volume, &publish("v", "n1"), no_faults, no_verdict);
}

#[test]
fn the_end_of_a_publication() {
    let prepare = async |house: &House, o: &Orchestrator| {
        one_volume(house, o).await;
        run(o, publish("v", "n1")).await.unwrap();
    };
    dies_at_every_point(Bytes::gib(10), prepare, &unpublish("v", "n1"), no_faults, no_verdict);
}

#[test]
fn a_fence_is_never_forgotten_half_way() {
    let prepare = async |house: &House, o: &Orchestrator| {
        one_volume(house, o).await;
        run(o, publish("v", "n1")).await.unwrap();
    };
    let fence = Request::Fence { volume: id("v"), node: node("n1") };
    dies_at_every_point(Bytes::gib(10), prepare, &fence, no_faults, |house, o, _| {
        let is_fenced = o.catalogue().volume(&id("v")).unwrap().fenced.contains_key(&node("n1"));
        assert_eq!(house.array.permits(&handle("v")).is_empty(), is_fenced);
    });
}

#[test]
fn a_forced_publication() {
    let prepare = async |_: &House, o: &Orchestrator| {
        let access = Some(model::AccessMode::ReadWriteOnce);
        let create = orchestrator::CreateRequest { access, ..orchestrator::CreateRequest::named(id("v")) };
        run(o, Request::Create(Box::new(create))).await.unwrap();
        run(o, publish("v", "n1")).await.unwrap();
    };
    let forced =
        Request::Publish { volume: id("v"), node: node("n2"), read_only: false, force: true, kept: false };
    dies_at_every_point(Bytes::gib(10), prepare, &forced, no_faults, no_verdict);
}

#[test]
fn a_mark_of_use() {
    let mark = Request::MarkStaged { volume: id("v") };
    dies_at_every_point(Bytes::gib(10), one_volume, &mark, no_faults, no_verdict);
}

#[test]
fn an_import() {
    let request = Request::Import(Box::new(ImportRequest {
        volume: id("v"),
        backend: backend(),
        original: "old".into(),
        class: None,
        filesystem: None,
        labels: Labels::new(),
    }));
    let plant =
        async |house: &House, _: &Orchestrator| house.array.plant(&handle("old"), Bytes::gib(1), None, 9);
    dies_at_every_point(Bytes::gib(10), plant, &request, no_faults, |house, _, _| {
        let content = house.array.read(&handle("v")).or(house.array.read(&handle("old")));
        assert_eq!(content, Some(9), "imported or as it was, never gone");
    });
}

#[test]
fn an_adoption() {
    let request = Request::Adopt { volume: id("v"), backend: backend() };
    let prepare = async |house: &House, o: &Orchestrator| {
        one_snapshot(house, o).await;
        o.run(Request::Forget { volume: id("v") }).await.unwrap();
    };
    for nth in 1..100 {
        let house = House::new();
        let died = block_on(async {
            let o = house.open().await;
            prepare(&house, &o).await;
            house.faults().die_at(nth);
            tokio::select! {
                biased;
                () = house.faults().died() => true,
                _ = run(&o, request.clone()) => false,
            }
        });
        block_on(async {
            let o = house.open().await;
            run(&o, request.clone()).await.unwrap();
            settled(&o).await;
            house.check(&o);
            assert_eq!(house.array.read(&handle("v")), Some(8));
        });
        if !died {
            assert!(nth > 4, "it died {} times only", nth - 1);
            return;
        }
    }
    panic!("the adoption never ends");
}
