use model::{Bytes, VolumeOption, VolumeOptions};
use orchestrator::{Answer, ErrorKind, Request, VolumeStatus};

use crate::house::*;

#[test]
fn a_volume_lives_from_creation_to_deletion() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, create("v", Bytes::gib(1))).await.unwrap();
        run(&o, publish("v", "n1")).await.unwrap();
        house.array.write(&handle("v"), 7);
        run(&o, take("v", "s")).await.unwrap();
        house.array.write(&handle("v"), 8);
        run(&o, grow("v", Bytes::gib(2))).await.unwrap();
        run(&o, clone("c", "v", Some("s"))).await.unwrap();
        run(&o, clone("now", "v", None)).await.unwrap();
        assert_eq!(house.array.read(&handle("c")), Some(7));
        assert_eq!(house.array.read(&handle("now")), Some(8));
        let busy = run(&o, restore("v", "s")).await.unwrap_err();
        assert_eq!(busy.kind, ErrorKind::InUse);
        run(&o, unpublish("v", "n1")).await.unwrap();
        run(&o, restore("v", "s")).await.unwrap();
        assert_eq!(house.array.read(&handle("v")), Some(7));
        house.check(&o);
        for name in ["v", "c", "now"] {
            run(&o, delete(name)).await.unwrap();
        }
        house.check(&o);
        assert_eq!(o.catalogue().volume_count(), 0);
        assert_eq!(run(&o, delete("v")).await.unwrap_err().kind, ErrorKind::NotFound);
    });
}

#[test]
fn the_same_request_again_changes_nothing() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        for _ in 0..2 {
            run(&o, create("v", Bytes::gib(1))).await.unwrap();
            run(&o, take("v", "s")).await.unwrap();
            run(&o, grow("v", Bytes::gib(1))).await.unwrap();
            run(&o, clone("c", "v", Some("s"))).await.unwrap();
            run(&o, publish("v", "n1")).await.unwrap();
            house.check(&o);
        }
        let differs = run(&o, create("v", Bytes::gib(3))).await.unwrap_err();
        assert_eq!(differs.kind, ErrorKind::Conflict);
        assert!(differs.message.contains("its size is 1GiB, 3GiB were asked for"), "{differs}");
    });
}

#[test]
fn what_cannot_be_is_refused_before_the_array_hears_of_it() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, create("v", Bytes::gib(1))).await.unwrap();
        run(&o, take("v", "s")).await.unwrap();
        let before = house.faults().counts();
        for (request, kind, part) in [
            (grow("v", Bytes::mib(1)), ErrorKind::Invalid, "cannot shrink"),
            (grow("absent", Bytes::gib(2)), ErrorKind::NotFound, "no volume `absent`"),
            (modify("absent", "0750"), ErrorKind::NotFound, "no volume `absent`"),
            (take("absent", "s"), ErrorKind::NotFound, "no volume"),
            (restore("v", "absent"), ErrorKind::NotFound, "no snapshot `absent` of volume `v`"),
            (clone("c", "absent", None), ErrorKind::NotFound, "no volume"),
            (clone("c", "v", Some("absent")), ErrorKind::NotFound, "no snapshot"),
            (publish("v", "n9"), ErrorKind::NotFound, "no node `n9`"),
            (
                Request::Delete { volume: id("v"), with_snapshots: false },
                ErrorKind::InUse,
                "has 1 snapshot, which would be lost",
            ),
        ] {
            let error = run(&o, request.clone()).await.unwrap_err();
            assert_eq!(error.kind, kind, "{request:?}: {error}");
            assert!(error.message.contains(part), "{request:?}: {error}");
        }
        let after = house.faults().counts();
        for call in [driver::memory::Call::Create, driver::memory::Call::Grow, driver::memory::Call::Permit] {
            assert_eq!(before.get(&call), after.get(&call), "{call:?}");
        }
        house.check(&o);
    });
}

#[test]
fn a_change_that_the_backend_refuses_leaves_the_volume_as_it_was() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, create("v", Bytes::gib(1))).await.unwrap();
        run(&o, modify("v", "0700")).await.unwrap();
        let policy = VolumeOptions::from([(VolumeOption::QosPolicy, "gold".to_owned())]);
        let fixed = Request::Modify { volume: id("v"), changes: policy };
        for (request, kind, part) in [
            (modify("v", "x"), ErrorKind::Invalid, "`x` is not octal"),
            (fixed, ErrorKind::Unsupported, "these can: unixPermissions"),
        ] {
            let error = run(&o, request).await.unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.message.contains(part), "{error}");
            let record = o.catalogue().volume(&id("v")).unwrap();
            assert!(record.changing.is_empty());
            assert_eq!(record.spec.options[&VolumeOption::UnixPermissions], "0700");
            assert_eq!(house.array.made_as(&handle("v")).unwrap().options, record.spec.options);
        }
        house.check(&o);
    });
}

#[test]
fn a_change_whose_fate_is_unknown_is_made_when_the_backend_answers_or_gives_way_to_the_next() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        let mode =
            || house.array.made_as(&handle("v")).unwrap().options[&VolumeOption::UnixPermissions].clone();
        run(&o, create("v", Bytes::gib(1))).await.unwrap();
        run(&o, modify("v", "0700")).await.unwrap();
        house.faults().always(driver::memory::Call::Modify, driver::memory::Fault::LoseReply);
        let error = run(&o, modify("v", "0750")).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable);
        assert_eq!(mode(), "0750", "done, but nobody knows");
        house.faults().lift();
        // What the record says it has is not what it has: it must be told again.
        run(&o, modify("v", "0700")).await.unwrap();
        assert_eq!(mode(), "0700");
        house.faults().always(driver::memory::Call::Modify, driver::memory::Fault::LoseReply);
        run(&o, modify("v", "0711")).await.unwrap_err();
        house.faults().lift();
        settled(&o).await;
        assert_eq!(
            o.catalogue().volume(&id("v")).unwrap().spec.options[&VolumeOption::UnixPermissions],
            "0711"
        );
        house.check(&o);
    });
}

#[test]
fn a_restore_brings_back_whether_the_volume_had_been_put_to_use() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, create("v", Bytes::gib(1))).await.unwrap();
        run(&o, take("v", "blank")).await.unwrap();
        run(&o, Request::MarkStaged { volume: id("v") }).await.unwrap();
        run(&o, take("v", "used")).await.unwrap();
        for (snapshot, staged) in [("blank", false), ("used", true)] {
            run(&o, restore("v", snapshot)).await.unwrap();
            assert_eq!(o.catalogue().volume(&id("v")).unwrap().staged, staged, "{snapshot}");
        }
    });
}

#[test]
fn a_full_array_refuses_with_free_and_asked_and_keeps_nothing() {
    block_on(async {
        let house = House::of(Bytes::gib(10));
        let o = house.open().await;
        run(&o, create("v", Bytes::gib(8))).await.unwrap();
        let error = run(&o, create("w", Bytes::gib(5))).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoCapacity);
        assert!(error.message.contains("2GiB free") && error.message.contains("5GiB were asked"), "{error}");
        let error = run(&o, grow("v", Bytes::gib(20))).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NoCapacity);
        assert_eq!(o.catalogue().volume(&id("v")).unwrap().spec.size, Bytes::gib(8));
        settled(&o).await;
        house.check(&o);
        assert_eq!(o.catalogue().volume_count(), 1);
    });
}

#[test]
fn a_new_process_knows_everything_the_old_one_did() {
    block_on(async {
        let house = House::new();
        let o = house.open().await;
        run(&o, create("v", Bytes::gib(1))).await.unwrap();
        run(&o, take("v", "s")).await.unwrap();
        run(&o, publish("v", "n2")).await.unwrap();
        let before = o.catalogue().volume(&id("v")).unwrap();
        o.stop().await;
        let o = house.open().await;
        assert_eq!(o.catalogue().volume(&id("v")).unwrap(), before);
        assert_eq!(before.status(), VolumeStatus::Ready);
        let Answer::Route(_) = o.run(publish("v", "n2")).await.unwrap() else { panic!("no route") };
        house.check(&o);
    });
}
