//! Two hosts over one array, each with a store of its own: the array is the truth.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use driver::memory::{Call, Fault};
use model::{AccessMode, Bytes, Labels};
use orchestrator::{CreateRequest, Error, ErrorKind, Goal, Orchestrator, Request, VolumeStatus};

use crate::house::*;
use crate::random::{Dice, seed, variable};

const SOON: Duration = Duration::from_secs(10);

struct Two {
    a: House,
    b: House,
}

impl Two {
    fn new() -> Two {
        let a = House::of(Bytes::gib(1000));
        let b = a.beside();
        Two { a, b }
    }

    async fn open(&self) -> (Orchestrator, Orchestrator) {
        self.a.faults().revive();
        (self.a.open_sharing("n1").await, self.b.open_sharing("n2").await)
    }

    /// What a host has a record of exists, and both find all that exists, as it is.
    async fn check<const N: usize>(&self, hosts: [&Orchestrator; N]) {
        for o in hosts {
            for record in o.catalogue().volumes() {
                assert_eq!(record.status(), VolumeStatus::Ready, "{record:?}");
                assert!(self.a.array.read(&record.handle).is_some(), "`{}` has no volume", record.id);
            }
            for handle in self.a.array.handles_of(INSTANCE) {
                let found = o.find(&id(handle.as_str()), SOON).await.unwrap();
                let found = found.unwrap_or_else(|| panic!("`{handle}` is not found"));
                assert_eq!(self.a.array.size(&handle), Some(found.spec.size), "size of `{handle}`");
                let snapshots: Vec<_> =
                    o.catalogue().snapshots_of(&found.id).map(|snapshot| snapshot.name.clone()).collect();
                assert_eq!(self.a.array.snapshots(&handle), snapshots, "snapshots of `{handle}`");
            }
        }
        for handle in self.a.array.handles_of(INSTANCE) {
            let users = hosts.iter().flat_map(|o| o.catalogue().volume(&id(handle.as_str())));
            let users =
                users.flat_map(|record| record.published.keys().cloned().collect::<Vec<_>>()).collect();
            assert_eq!(self.a.array.permits(&handle), users, "permits of `{handle}`");
        }
    }
}

fn wish(name: &str) -> Request {
    let access = Some(AccessMode::ReadWriteOnce);
    let size = Some(Bytes::gib(1));
    let labels = Labels::from([("app".to_owned(), "shop".to_owned())]);
    Request::Create(Box::new(CreateRequest { access, size, labels, ..CreateRequest::named(id(name)) }))
}

fn fence(name: &str, from: &str) -> Request {
    Request::Fence { volume: id(name), node: node(from) }
}

#[test]
fn what_one_host_makes_the_other_finds_as_it_was_made() {
    block_on(async {
        let two = Two::new();
        let (a, b) = two.open().await;
        run(&a, wish("v")).await.unwrap();
        assert!(b.catalogue().volume(&id("v")).is_none());
        assert_eq!(b.elsewhere(SOON).await.unknown.keys().collect::<Vec<_>>(), [&id("v")]);
        let made = a.catalogue().volume(&id("v")).unwrap();
        let found = b.find(&id("v"), SOON).await.unwrap().unwrap();
        assert_eq!(found.spec, made.spec);
        assert!(!found.staged, "a volume that nobody has used may still be formatted");
        run(&a, Request::MarkStaged { volume: id("v") }).await.unwrap();
        assert!(
            b.find(&id("v"), SOON).await.unwrap().unwrap().staged,
            "what a host has used is never formatted"
        );
        assert!(b.doctor().await.is_empty(), "{:?}", b.doctor().await);
        two.check([&a, &b]).await;
    });
}

#[test]
fn what_one_host_grows_snapshots_or_deletes_the_other_sees() {
    block_on(async {
        let two = Two::new();
        let (a, b) = two.open().await;
        run(&a, wish("v")).await.unwrap();
        b.find(&id("v"), SOON).await.unwrap().unwrap();
        run(&a, grow("v", Bytes::gib(3))).await.unwrap();
        run(&a, take("v", "s")).await.unwrap();
        two.a.array.write(&handle("v"), 5);
        run(&b, restore("v", "s")).await.unwrap();
        assert_eq!(two.a.array.read(&handle("v")), Some(0));
        assert_eq!(b.catalogue().volume(&id("v")).unwrap().spec.size, Bytes::gib(3));
        run(&b, clone("c", "v", Some("s"))).await.unwrap();
        // Whoever deletes a volume without its snapshots is told of those that another host took.
        let with = Request::Delete { volume: id("v"), with_snapshots: false };
        assert_eq!(run(&b, with).await.unwrap_err().kind, ErrorKind::InUse);
        run(&b, delete("v")).await.unwrap();
        assert_eq!(a.elsewhere(SOON).await.deleted.into_iter().collect::<Vec<_>>(), [id("v")]);
        assert!(a.find(&id("v"), SOON).await.unwrap().is_none());
        assert!(a.doctor().await.is_empty());
        two.check([&a, &b]).await;
    });
}

#[test]
fn a_volume_that_was_deleted_and_made_anew_is_taken_for_the_new_one() {
    block_on(async {
        let two = Two::new();
        let (a, b) = two.open().await;
        run(&a, wish("v")).await.unwrap();
        run(&a, Request::MarkStaged { volume: id("v") }).await.unwrap();
        b.find(&id("v"), SOON).await.unwrap().unwrap();
        run(&a, delete("v")).await.unwrap();
        run(&a, wish("v")).await.unwrap();
        run(&b, publish("v", "n2")).await.unwrap();
        assert!(!b.catalogue().volume(&id("v")).unwrap().staged, "the new one is blank");
        two.check([&a, &b]).await;
    });
}

#[test]
fn a_volume_that_others_delete_and_make_anew_while_a_host_looks_at_it_is_looked_at_once_more() {
    block_on(async {
        let two = Two::new();
        let (a, b) = two.open().await;
        run(&a, wish("v")).await.unwrap();
        for known in [false, true] {
            assert_eq!(b.catalogue().volume(&id("v")).is_some(), known);
            two.a.faults().plan(Call::ListSnapshots, 1, Fault::Refuse(ErrorKind::NotFound));
            run(&b, take("v", "s")).await.unwrap();
        }
        two.a.faults().plan(Call::ListSnapshots, 1, Fault::Refuse(ErrorKind::NotFound));
        run(&b, delete("v")).await.unwrap();
        two.check([&b]).await;
    });
}

#[test]
fn an_exclusive_volume_is_refused_to_the_second_host_by_name_of_the_first_until_it_is_taken_by_force() {
    block_on(async {
        let two = Two::new();
        let (a, b) = two.open().await;
        run(&a, wish("v")).await.unwrap();
        run(&a, publish("v", "n1")).await.unwrap();
        for refused in [publish("v", "n2"), delete("v")] {
            let error = run(&b, refused).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::InUse, "{error}");
            assert!(error.sentence().contains("in use on node `n1`"), "{}", error.sentence());
            assert!(error.sentence().contains("leister fence volume v --node n1"), "{}", error.sentence());
        }
        run(&b, fence("v", "n1")).await.unwrap();
        run(&b, publish("v", "n2")).await.unwrap();
        run(&b, unpublish("v", "n2")).await.unwrap();
        // The first host sees that it was fenced, though nobody has the volume now, and does not help itself to it.
        tokio::time::sleep(Duration::from_secs(65)).await;
        assert!(a.catalogue().volume(&id("v")).unwrap().fenced.contains_key(&node("n1")));
        assert_eq!(run(&a, publish("v", "n1")).await.unwrap_err().kind, ErrorKind::Conflict);
        assert!(two.a.array.permits(&handle("v")).is_empty());
        run(&a, unpublish("v", "n1")).await.unwrap();
        run(&a, publish("v", "n1")).await.unwrap();
        two.check([&a, &b]).await;
    });
}

#[test]
fn what_a_dead_host_has_is_known_to_the_other_that_has_no_record_of_it() {
    block_on(async {
        let two = Two::new();
        let (a, b) = two.open().await;
        for name in ["v", "w", "unused"] {
            run(&a, wish(name)).await.unwrap();
        }
        for name in ["v", "w"] {
            run(&a, publish(name, "n1")).await.unwrap();
        }
        let has: Vec<_> = b.volumes_of(&node("n1")).await.unwrap().into_iter().collect();
        assert_eq!(has, [id("v"), id("w")]);
        assert_eq!(b.volumes_of(&node("n9")).await.unwrap_err().kind, ErrorKind::NotFound);
        assert!(b.volumes_of(&node("n2")).await.unwrap().is_empty());
        for volume in has {
            run(&b, fence(volume.as_str(), "n1")).await.unwrap();
        }
        two.a.faults().always(Call::List, Fault::Refuse(ErrorKind::Unreachable));
        assert_eq!(b.volumes_of(&node("n1")).await.unwrap_err().kind, ErrorKind::Unreachable);
    });
}

#[test]
fn a_host_that_was_fenced_does_not_get_the_permit_back_by_asking_before_it_has_noticed() {
    block_on(async {
        let two = Two::new();
        let (a, b) = two.open().await;
        run(&a, wish("v")).await.unwrap();
        run(&a, publish("v", "n1")).await.unwrap();
        run(&b, fence("v", "n1")).await.unwrap();
        assert_eq!(run(&a, publish("v", "n1")).await.unwrap_err().kind, ErrorKind::Conflict);
        assert!(two.a.array.permits(&handle("v")).is_empty());
    });
}

#[test]
fn permits_of_another_host_stay_whatever_the_period_of_grace() {
    block_on(async {
        let two = Two::new();
        let (a, b) = two.open().await;
        run(&a, wish("v")).await.unwrap();
        b.find(&id("v"), SOON).await.unwrap().unwrap();
        run(&a, publish("v", "n1")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1000)).await;
        two.check([&a, &b]).await;
        // One of the own node without a publication goes.
        run(&a, unpublish("v", "n1")).await.unwrap();
        two.a.array.set_permits(&handle("v"), [node("n1")]);
        tokio::time::sleep(Duration::from_secs(1000)).await;
        assert!(two.a.array.permits(&handle("v")).is_empty());
    });
}

#[test]
fn a_volume_lost_while_in_use_is_an_incident_all_the_same() {
    block_on(async {
        let two = Two::new();
        let (a, _b) = two.open().await;
        run(&a, wish("v")).await.unwrap();
        run(&a, publish("v", "n1")).await.unwrap();
        two.a.array.lose(&handle("v"));
        tokio::time::sleep(Duration::from_secs(65)).await;
        assert_eq!(a.catalogue().volume(&id("v")).unwrap().status(), VolumeStatus::Missing);
    });
}

#[test]
fn a_deletion_that_ends_late_does_not_take_the_next_volume_of_that_name() {
    block_on(async {
        let two = Two::new();
        let (a, b) = two.open().await;
        run(&a, wish("v")).await.unwrap();
        // The array deletes it, but the answer is lost, and then the array is away for the first host.
        two.a.faults().plan(Call::Delete, 1, Fault::LoseReply);
        // It is looked at three times before.
        for n in 4..10 {
            two.a.faults().plan(Call::Observe, n, Fault::Refuse(ErrorKind::Unreachable));
        }
        let deletion = tokio::spawn({
            let a = a.clone();
            async move { a.run(delete("v")).await.map(drop) }
        });
        until("it is deleted", || two.a.array.read(&handle("v")).is_none()).await;
        let _ = deletion.await.unwrap();
        two.a.faults().lift();
        run(&b, wish("v")).await.unwrap();
        settled(&a).await;
        assert!(two.a.array.read(&handle("v")).is_some(), "the volume of the other host");
        two.check([&a, &b]).await;
    });
}

#[test]
fn a_backend_that_does_not_answer_gets_no_second_volume_of_a_name() {
    block_on(async {
        let two = Two::new();
        let (a, b) = two.open().await;
        run(&a, wish("v")).await.unwrap();
        two.a.faults().always(Call::Observe, Fault::Refuse(ErrorKind::Unreachable));
        assert_eq!(run(&b, wish("v")).await.unwrap_err().kind, ErrorKind::Unreachable);
        assert_eq!(b.find(&id("v"), SOON).await.unwrap_err().kind, ErrorKind::Unreachable);
        two.a.faults().lift();
        tokio::time::sleep(Duration::from_secs(60)).await;
        run(&b, wish("v")).await.unwrap();
        two.check([&a, &b]).await;
    });
}

/// The first host dies at every point of what it does; what the second does meanwhile and afterwards goes right.
#[test]
fn a_host_that_dies_at_any_point_leaves_the_other_in_order() {
    let requests = [
        wish("new"),
        wish("v"),
        delete("v"),
        grow("v", Bytes::gib(2)),
        take("v", "t"),
        publish("v", "n1"),
        clone("new", "v", Some("s")),
        fence("w", "n2"),
    ];
    for request in requests {
        for nth in 1.. {
            assert!(nth < 500, "the operation never ends");
            let two = Two::new();
            let died = block_on(async {
                let (a, b) = two.open().await;
                // The second host has made all of it: the first begins by finding it.
                run(&b, wish("v")).await.unwrap();
                run(&b, take("v", "s")).await.unwrap();
                run(&b, wish("w")).await.unwrap();
                run(&b, publish("w", "n2")).await.unwrap();
                two.a.array.write(&handle("w"), 9);
                two.a.faults().die_at(nth);
                tokio::select! {
                    biased;
                    () = two.a.faults().died() => true,
                    result = run(&a, request.clone()) => { result.unwrap(); false }
                }
            });
            block_on(async {
                let (a, b) = two.open().await;
                settled(&a).await;
                settled(&b).await;
                assert_eq!(two.a.array.read(&handle("w")), Some(9), "in use on the other host");
                two.check([&a, &b]).await;
                run(&b, wish("new")).await.unwrap();
                run(&b, delete("new")).await.unwrap();
                // Within the drift period the first host has noticed.
                tokio::time::sleep(Duration::from_secs(65)).await;
                two.check([&a, &b]).await;
            });
            if !died {
                assert!(nth > 4, "it died {} times only", nth - 1);
                break;
            }
        }
    }
}

/// Who uses what now, and what it has written.
type Users = Arc<Mutex<BTreeMap<String, (&'static str, u64)>>>;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Creates, deletes and changes, as its dice say. Refusals are part of the game.
async fn manage(o: Orchestrator, mut dice: Dice) {
    for _ in 0..30 {
        let name = dice.pick(&NAMES);
        let request = match dice.roll(8) {
            0..=2 => wish(name),
            3 | 4 => delete(name),
            5 => grow(name, Bytes::gib(1 + dice.roll(4))),
            6 => take(name, dice.pick(&["s", "t"])),
            _ => restore(name, dice.pick(&["s", "t"])),
        };
        let _ = run(&o, request).await;
    }
}

/// Uses volumes: what it has, nobody else has, and what it writes stays.
async fn work(o: Orchestrator, own: &'static str, users: Users, house: House, mut dice: Dice, seed: u64) {
    for _ in 0..30 {
        let name = dice.pick(&NAMES);
        if run(&o, publish(name, own)).await.is_err() {
            continue;
        }
        let content = 1 + dice.roll(1 << 32);
        let before = users.lock().unwrap().insert(name.to_owned(), (own, content));
        assert_eq!(before, None, "SEED={seed}: `{name}` is used by two at once");
        house.array.write(&handle(name), content);
        tokio::time::sleep(Duration::from_millis(dice.roll(300))).await;
        assert_eq!(house.array.read(&handle(name)), Some(content), "SEED={seed}: `{name}` on {own}");
        assert_eq!(house.array.permits(&handle(name)), [node(own)].into(), "SEED={seed}: `{name}`");
        users.lock().unwrap().remove(name);
        let _ = run(&o, unpublish(name, own)).await;
    }
}

async fn release_all(o: &Orchestrator, own: &str) -> Result<(), Error> {
    let catalogue = o.catalogue();
    let published =
        catalogue.volumes().filter(|record| record.published.values().any(|p| p.goal == Goal::Exist));
    for record in published {
        run(o, unpublish(record.id.as_str(), own)).await?;
    }
    Ok(())
}

#[test]
fn racing_hosts_make_no_second_volume_leak_none_and_never_share_what_is_exclusive() {
    let seed = seed();
    println!("SEED={seed}");
    let mut dice = Dice(seed);
    let two = Two::new();
    let mut deaths = 0;
    for round in 0..variable("ROUNDS", 40) {
        let mut died = false;
        block_on(async {
            two.a.faults().lift();
            let (a, b) = two.open().await;
            settled(&a).await;
            settled(&b).await;
            release_all(&a, "n1").await.unwrap();
            release_all(&b, "n2").await.unwrap();
            two.check([&a, &b]).await;
            let users = Users::default();
            let mut running = tokio::task::JoinSet::new();
            for (o, own, house) in [(&a, "n1", two.a.beside()), (&b, "n2", two.a.beside())] {
                running.spawn(work(o.clone(), own, users.clone(), house, Dice(1 + dice.roll(1 << 40)), seed));
                running.spawn(manage(o.clone(), Dice(1 + dice.roll(1 << 40))));
            }
            for call in [Call::Create, Call::Delete, Call::Permit, Call::Forbid, Call::Grow, Call::Observe] {
                let fault = match dice.roll(3) {
                    0 => Fault::Refuse(ErrorKind::Unreachable),
                    _ => Fault::LoseReply,
                };
                two.a.faults().plan(call, 1 + dice.roll(30), fault);
            }
            if round % 2 == 1 {
                two.a.faults().die_at(1 + dice.roll(600));
            }
            let all = async {
                while let Some(ended) = running.join_next().await {
                    ended.unwrap();
                }
            };
            tokio::select! {
                biased;
                () = two.a.faults().died() => died = true,
                () = all => {}
            }
            if !died {
                two.a.faults().revive();
                settled(&a).await;
                settled(&b).await;
                two.check([&a, &b]).await;
            }
        });
        deaths += u64::from(died);
    }
    println!("{deaths} deaths");
    assert!(deaths > 0, "the hosts never died: the test tests too little");
}
