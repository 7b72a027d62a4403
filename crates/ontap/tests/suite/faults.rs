//! Replies lost, jobs that fail, arrays with too much to do.

use driver::conformance::Fixture;
use driver::{CloneVolume, Driver, ErrorKind, Outcome, Result, Snapshots};
use model::{Bytes, Handle, Permit, SnapshotName};
use serde_json::json;
use sim_ontap::{Body, Effect, Fault, JobFault};

use crate::array::{Array, request};

const DRIVERS: [(&str, &str); 6] = [
    ("ontap-nas", ""),
    ("ontap-nas-flexgroup", ""),
    ("ontap-san", "sanType: iscsi"),
    ("ontap-san", "sanType: nvme"),
    ("ontap-nas-economy", ""),
    ("ontap-san-economy", ""),
];
/// More changing calls than any operation makes.
const MOST: usize = 12;

/// Loses the reply to the first, second, … changing call of `act` until there is none, each time on a volume of its
/// own; the repeat must succeed.
async fn with_each_reply_lost<T>(
    array: &Array,
    prepare: impl AsyncFn(&dyn Driver, &str) -> Handle,
    act: impl AsyncFn(&dyn Driver, &Handle) -> Result<Outcome<T>>,
    proof: impl AsyncFn(&dyn Driver, &Handle),
) {
    let driver = array.driver();
    driver.pools().await.unwrap();
    for nth in 0..MOST {
        let handle = prepare(driver.as_ref(), &format!("v{nth}")).await;
        for calls in ["POST *", "PATCH *", "DELETE *"] {
            let fault = Fault {
                calls: calls.to_owned(),
                containing: None,
                after: nth,
                times: Some(1),
                effect: Effect::ApplyAndDrop,
            };
            array.sim.faults().add(fault);
        }
        let before = array.sim.faults().met();
        let first = act(driver.as_ref(), &handle).await;
        let met = array.sim.faults().met() > before;
        array.sim.faults().clear();
        if let Err(error) = &first {
            assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        }
        act(driver.as_ref(), &handle)
            .await
            .unwrap_or_else(|e| panic!("reply {nth} lost, the repeat fails: {e}"));
        proof(driver.as_ref(), &handle).await;
        if !met {
            assert!(nth > 0, "no reply was lost at all");
            return;
        }
    }
    panic!("more than {MOST} changing calls");
}

async fn create(driver: &dyn Driver, name: &str) -> Handle {
    let volume = request(driver, name);
    driver.create(&volume).await.unwrap();
    volume.handle
}

#[tokio::test]
async fn a_lost_reply_to_create_makes_no_second_volume() {
    for (kind, rest) in DRIVERS {
        let array = Array::new(kind, rest).await;
        with_each_reply_lost(
            &array,
            async |driver, name| request(driver, name).handle,
            async |driver, handle| {
                let mut volume = request(driver, "x");
                volume.handle = handle.clone();
                driver.create(&volume).await
            },
            async |driver, handle| {
                let listed = driver.list().await.unwrap();
                assert_eq!(listed.iter().filter(|seen| seen.handle == *handle).count(), 1);
            },
        )
        .await;
    }
}

#[tokio::test]
async fn a_lost_reply_to_permit_or_forbid_leaves_what_was_asked_for() {
    for (kind, rest) in DRIVERS {
        let array = Array::new(kind, rest).await;
        let permit = Permit::exclusive(array.nodes()[0].clone());
        with_each_reply_lost(
            &array,
            async |driver, name| create(driver, name).await,
            async |driver, handle| driver.permit(handle, &permit).await,
            async |driver, handle| {
                assert_eq!(driver.observe(handle).await.unwrap().unwrap().permitted.len(), 1);
            },
        )
        .await;
        with_each_reply_lost(
            &array,
            async |driver, name| {
                let handle = create(driver, &format!("f{name}")).await;
                driver.permit(&handle, &permit).await.unwrap();
                handle
            },
            async |driver, handle| driver.forbid(handle, &permit.node).await,
            async |driver, handle| {
                assert!(driver.observe(handle).await.unwrap().unwrap().permitted.is_empty());
            },
        )
        .await;
    }
}

#[tokio::test]
async fn a_lost_reply_to_grow_delete_or_restore_is_made_good_by_the_repeat() {
    for (kind, rest) in DRIVERS {
        let array = Array::new(kind, rest).await;
        let snapshot = SnapshotName::new("s").unwrap();
        with_each_reply_lost(
            &array,
            async |driver, name| create(driver, name).await,
            async |driver, handle| driver.resize().unwrap().grow(handle, Bytes::gib(2)).await,
            async |driver, handle| {
                assert_eq!(driver.observe(handle).await.unwrap().unwrap().size, Bytes::gib(2));
            },
        )
        .await;
        with_each_reply_lost(
            &array,
            async |driver, name| create(driver, &format!("d{name}")).await,
            async |driver, handle| driver.delete(handle).await,
            async |driver, handle| assert!(driver.observe(handle).await.unwrap().is_none()),
        )
        .await;
        if array.driver().snapshots().is_none() {
            continue;
        }
        with_each_reply_lost(
            &array,
            async |driver, name| {
                let handle = create(driver, &format!("r{name}")).await;
                driver.snapshots().unwrap().take(&handle, &snapshot).await.unwrap();
                handle
            },
            async |driver, handle| driver.snapshots().unwrap().restore(handle, &snapshot).await,
            async |driver, handle| assert!(driver.observe(handle).await.unwrap().is_some()),
        )
        .await;
    }
}

#[tokio::test]
async fn a_lost_reply_to_clone_makes_one_clone() {
    for (kind, rest) in DRIVERS {
        let array = Array::new(kind, rest).await;
        if array.driver().snapshots().is_none() {
            continue;
        }
        let source = create(array.driver().as_ref(), "source").await;
        with_each_reply_lost(
            &array,
            async |driver, name| request(driver, name).handle,
            async |driver, handle| {
                let mut create = request(driver, "x");
                create.handle = handle.clone();
                create.spec.size = Bytes::gib(2);
                let clone = CloneVolume { create, source: source.clone(), snapshot: None };
                driver.snapshots().and_then(Snapshots::clones).unwrap().clone_volume(&clone).await
            },
            async |driver, handle| {
                assert_eq!(driver.observe(handle).await.unwrap().unwrap().size, Bytes::gib(2));
            },
        )
        .await;
    }
}

#[tokio::test]
async fn a_job_that_fails_says_why_and_leaves_nothing_that_a_repeat_cannot_mend() {
    let array = Array::new("ontap-nas", "").await;
    let driver = array.driver();
    driver.pools().await.unwrap();
    let volume = request(driver.as_ref(), "v");
    for applied in [false, true] {
        let failure = JobFault::Fails {
            code: 524_486,
            message: "the disk shelf is busy".to_owned(),
            applied,
            milliseconds: 0,
        };
        array.sim.faults().once("POST /storage/volumes", Effect::Job(failure));
        let error = driver.create(&volume).await.unwrap_err();
        assert!(error.to_string().contains("the disk shelf is busy"), "{error}");
        driver.create(&volume).await.unwrap();
        driver.delete(&volume.handle).await.unwrap();
    }
}

#[tokio::test]
async fn an_array_with_too_much_to_do_is_asked_again_and_less_at_once() {
    let array = Array::new("ontap-nas", "").await;
    let driver = array.driver();
    driver.pools().await.unwrap();
    for status in [429, 503] {
        let busy = Effect::Answer {
            status,
            body: Body::Json(json!({"error": {"message": "busy"}})),
            headers: Vec::new(),
        };
        array.sim.faults().once("POST /storage/volumes", busy);
        create(driver.as_ref(), &format!("v{status}")).await;
    }
}

#[tokio::test]
async fn a_clone_whose_split_is_under_way_keeps_its_snapshot_and_says_so() {
    let array =
        Array::with("ontap-nas", "", |sim| sim.split_time(std::time::Duration::from_secs(3600))).await;
    let driver = array.driver();
    driver.pools().await.unwrap();
    let source = create(driver.as_ref(), "source").await;
    let (snapshots, snapshot) = (driver.snapshots().unwrap(), SnapshotName::new("s").unwrap());
    snapshots.take(&source, &snapshot).await.unwrap();
    let clone = CloneVolume {
        create: request(driver.as_ref(), "copy"),
        source: source.clone(),
        snapshot: Some(snapshot.clone()),
    };
    snapshots.clones().unwrap().clone_volume(&clone).await.unwrap();
    let refusal = snapshots.delete_snapshot(&source, &snapshot).await.unwrap_err();
    assert!(refusal.kind == ErrorKind::Busy && refusal.to_string().contains("`leister_copy`"), "{refusal}");
    array.sim.finish_jobs();
    assert!(snapshots.delete_snapshot(&source, &snapshot).await.unwrap().is_changed());
}

/// What of the array's objects there are, by table: what any operation may leave behind.
fn objects(array: &Array) -> Vec<(&'static str, usize)> {
    const TABLES: [&str; 9] = [
        "volumes",
        "luns",
        "namespaces",
        "qtrees",
        "quota_rules",
        "export_policies",
        "export_rules",
        "lun_maps",
        "nvme_maps",
    ];
    let state = array.sim.state();
    TABLES.into_iter().map(|table| (table, state.count(table))).collect()
}

/// Each changing call of `make` fails in turn, done or not. What is left is then deleted as the orchestrator would: by
/// what `observe` says. Nothing may be left.
async fn leaves_nothing_when_it_fails(
    array: &Array,
    name: &str,
    make: impl AsyncFn(&dyn Driver, &Handle) -> Result<()>,
) {
    let driver = array.driver();
    for is_done in [false, true] {
        for nth in 0..MOST {
            let handle = request(driver.as_ref(), &format!("{name}{nth}{is_done}")).handle;
            let before = objects(array);
            let failure = || match is_done {
                true => Effect::ApplyAndDrop,
                false => Effect::Answer {
                    status: 500,
                    body: Body::Json(json!({"error": {"message": "the shelf is on fire", "code": "99"}})),
                    headers: Vec::new(),
                },
            };
            for calls in ["POST *", "PATCH *"] {
                let calls = calls.to_owned();
                array.sim.faults().add(Fault {
                    calls,
                    containing: None,
                    after: nth,
                    times: Some(1),
                    effect: failure(),
                });
            }
            let met = array.sim.faults().met();
            let made = make(driver.as_ref(), &handle).await;
            let is_met = array.sim.faults().met() > met;
            array.sim.faults().clear();
            if let Err(error) = &made
                && !is_done
            {
                assert!(error.to_string().contains("the shelf is on fire"), "{error}");
            }
            // A new process: what the old one knew is lost with it.
            array.reopen().await;
            let driver = array.driver();
            if driver.observe(&handle).await.unwrap().is_some() {
                driver.delete(&handle).await.unwrap();
            }
            assert_eq!(driver.observe(&handle).await.unwrap(), None);
            let kind = driver.info().driver;
            assert_eq!(objects(array), before, "{kind}: change {nth} failed, done: {is_done}");
            if !is_met {
                assert!(nth > 0, "no call failed at all");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_create_that_fails_anywhere_is_seen_and_leaves_nothing_once_deleted() {
    for (kind, rest) in DRIVERS {
        let array = Array::new(kind, rest).await;
        // What volumes share stays for good.
        let first = create(array.driver().as_ref(), "first").await;
        leaves_nothing_when_it_fails(&array, "v", async |driver, handle| {
            let mut volume = request(driver, "x");
            volume.handle = handle.clone();
            driver.create(&volume).await.map(drop)
        })
        .await;
        array.driver().delete(&first).await.unwrap();
    }
}

#[tokio::test]
async fn a_clone_that_fails_anywhere_is_seen_and_leaves_nothing_once_deleted() {
    for (kind, rest) in DRIVERS {
        let array = Array::new(kind, rest).await;
        if array.driver().snapshots().is_none() {
            continue;
        }
        let source = create(array.driver().as_ref(), "source").await;
        leaves_nothing_when_it_fails(&array, "c", async |driver, handle| {
            let mut create = request(driver, "x");
            create.handle = handle.clone();
            create.spec.size = Bytes::gib(2);
            let clone = CloneVolume { create, source: source.clone(), snapshot: None };
            driver.snapshots().and_then(Snapshots::clones).unwrap().clone_volume(&clone).await.map(drop)
        })
        .await;
    }
}

/// What died between the clone and its split would depend on its source for good, and keep the source's snapshot.
#[tokio::test]
async fn a_clone_that_was_not_split_is_seen_as_unfinished_and_the_repeat_splits_it() {
    for (kind, rest) in [("ontap-nas", ""), ("ontap-san", "sanType: iscsi"), ("ontap-san", "sanType: nvme")] {
        let array = Array::new(kind, rest).await;
        let driver = array.driver();
        let source = create(driver.as_ref(), "source").await;
        let (snapshots, snapshot) = (driver.snapshots().unwrap(), SnapshotName::new("s").unwrap());
        snapshots.take(&source, &snapshot).await.unwrap();
        let create = request(driver.as_ref(), "copy");
        let handle = create.handle.clone();
        let clone = CloneVolume { create, source: source.clone(), snapshot: Some(snapshot.clone()) };
        array.sim.faults().add(Fault {
            calls: "PATCH /storage/volumes*".to_owned(),
            containing: Some("split_initiated".to_owned()),
            after: 0,
            times: Some(1),
            effect: Effect::Drop,
        });
        snapshots.clones().unwrap().clone_volume(&clone).await.unwrap_err();
        assert_eq!(array.sim.faults().met(), 1);
        assert!(!driver.observe(&handle).await.unwrap().unwrap().complete, "{kind}");
        let done = snapshots.clones().unwrap().clone_volume(&clone).await.unwrap().into_inner();
        assert!(done.complete && driver.observe(&handle).await.unwrap().unwrap().complete, "{kind}");
        assert!(snapshots.delete_snapshot(&source, &snapshot).await.unwrap().is_changed(), "{kind}");
    }
}

/// The reply to a create is lost while the array's job for it still runs: nothing is to be seen yet.
#[tokio::test]
async fn a_create_repeated_while_its_lost_job_runs_makes_no_second_volume() {
    for (kind, rest) in DRIVERS {
        let array = Array::with(kind, rest, |sim| sim.job_time(std::time::Duration::from_secs(2))).await;
        let driver = array.driver();
        driver.pools().await.unwrap();
        let volume = request(driver.as_ref(), "v");
        let lost = Effect::ApplyAndStall { milliseconds: None };
        array.sim.faults().once("POST /storage/volumes", lost);
        // Who asked gives up while the job runs, and asks again at once.
        let waited =
            tokio::time::timeout(std::time::Duration::from_millis(500), driver.create(&volume)).await;
        assert!(waited.is_err() && array.sim.faults().met() == 1, "{kind}: {waited:?}");
        let mut tries = 0;
        while let Err(error) = driver.create(&volume).await {
            let is_passing = matches!(error.kind, ErrorKind::Busy | ErrorKind::Unreachable);
            assert!(is_passing && tries < 100, "{kind}: {:?} {error}", error.kind);
            tries += 1;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        array.sim.faults().clear();
        array.sim.finish_jobs();
        assert_eq!(driver.list().await.unwrap().len(), 1, "{kind}");
        let shelves =
            array.sim.state().list("volumes").filter(|volume| volume["is_svm_root"] != json!(true)).count();
        assert!(shelves <= 2, "{kind}: {shelves}");
        driver.delete(&volume.handle).await.unwrap();
    }
}

/// The array keeps a snapshot of its own for each clone of a live volume, and has room for a bounded number of them.
#[tokio::test]
async fn what_clones_were_made_from_does_not_pile_up() {
    let array = Array::new("ontap-nas", "").await;
    let driver = array.driver();
    let source = create(driver.as_ref(), "source").await;
    array.snap_by_hand(&source, "clone_by_hand").await;
    let clones = driver.snapshots().and_then(Snapshots::clones).unwrap();
    for n in 0..40 {
        let create = request(driver.as_ref(), &format!("c{n}"));
        let clone = CloneVolume { create, source: source.clone(), snapshot: None };
        clones.clone_volume(&clone).await.unwrap();
    }
    let state = array.sim.state();
    let kept = state.list("snapshots").filter(|snapshot| snapshot["name"] != json!("clone_by_hand")).count();
    assert!(kept <= 17, "{kept} snapshots are kept of 40 clones");
    assert!(state.find_by("snapshots", "name", "clone_by_hand").is_some(), "a person's snapshot is gone");
    // A new process sweeps what the last one left.
    array.reopen().await;
    let driver = array.driver();
    let clone = CloneVolume { create: request(driver.as_ref(), "last"), source, snapshot: None };
    driver.snapshots().and_then(Snapshots::clones).unwrap().clone_volume(&clone).await.unwrap();
    assert_eq!(array.sim.state().count("snapshots"), 2);
}
