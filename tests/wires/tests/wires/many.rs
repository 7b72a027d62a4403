//! Many volumes of both kinds at the same time.

use std::collections::BTreeMap;

use model::{Bytes, NfsRoute, Route, VolumeId};
use rig::Guest;
use serde_json::Value;
use wires::{Answer, Attach, Deed, Order};

use crate::hands::{self, MOUNTS, attach, done, obey, order, volume};
use crate::healing::heal;
use crate::iscsi::{self, OPEN, bring, left, nothing_is_left, unit};
use crate::{LIMIT, nfs, on_rig};

const MANY: &str = "iqn.2026-01.test.rig:many";
const EACH: u16 = 16;

fn export(storage: &Guest, link: u8, path: &str) -> Route {
    let server = storage.address(link).to_string();
    Route::Nfs(NfsRoute { server, path: path.to_owned(), mount_options: vec!["vers=4.2".to_owned()] })
}

fn folder(storage: &Guest, n: u16) -> Attach {
    attach(&format!("nfs{n}"), export(storage, 0, &format!("/srv/v/n{n}")), &[])
}

fn disk(storage: &Guest, links: &[u8], n: u16) -> Attach {
    let route = unit(storage, MANY, links, n, &format!("unit-{n:02}f1"));
    Attach { size: Bytes::mib(6), ..iscsi::wanted(&format!("iscsi{n}"), route) }
}

fn mount(volume: VolumeId) -> Deed {
    Deed::Mount { volume, reference: "app".to_owned() }
}

fn unmount(volume: VolumeId) -> Deed {
    Deed::Unmount { volume, reference: "app".to_owned() }
}

fn detach(volume: VolumeId) -> Deed {
    Deed::Detach { volume }
}

fn attaches(all: Vec<Attach>) -> Vec<Deed> {
    all.into_iter().map(|wanted| Deed::Attach(Box::new(wanted))).collect()
}

/// All of them, or the test ends.
#[track_caller]
fn at_once(node: &Guest, all: Deed) -> (Value, u64) {
    let said = done(obey(node, all));
    let answers = said["answers"].as_array().unwrap();
    for answer in answers {
        assert!(answer["answer"].get("done").is_some(), "{answer}");
    }
    let slowest = answers.iter().map(|answer| answer["ms"].as_u64().unwrap()).max().unwrap();
    (said, slowest)
}

fn tools(said: &Value) -> BTreeMap<String, u64> {
    serde_json::from_value(said["tools"].clone()).unwrap()
}

/// Of a filesystem that was there before: the one of the first round is among those of the second.
const CHECK: &str = "e2fsck";

/// What one of each took alone, and what `EACH` of each took together; `once_more`: what one of these alone
/// needs.
#[track_caller]
fn costs_no_more(what: &str, alone: &(Value, u64), together: &(Value, u64), once_more: &[&str]) {
    let (one, all) = (tools(&alone.0), tools(&together.0));
    println!(
        "{what}: one of each {} ms with {one:?}, {EACH} of each {} ms with {all:?}",
        alone.1, together.1
    );
    // What multipathd takes long for it is told again.
    for (tool, runs) in all.iter().filter(|(tool, _)| !tool.starts_with("multipath")) {
        let once = one.get(tool).copied().unwrap_or_default();
        let most = if once_more.contains(&tool.as_str()) { 1 } else { once * u64::from(EACH) };
        assert!(*runs <= most, "{what}: {tool} ran {runs} times, and {once} for one of each");
    }
}

#[test]
fn thirty_two_volumes_come_and_go_at_once_as_cheaply_as_one_by_one() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let both = |n| [folder(storage, n), disk(storage, &[0, 1], n)];
        let all = || (0..EACH).flat_map(both).collect::<Vec<_>>();
        let names = |all: Vec<Attach>| all.into_iter().map(|wanted| wanted.volume).collect::<Vec<_>>();
        let each = |all: Vec<Attach>, deed: fn(VolumeId) -> Deed| {
            Deed::AtOnce(names(all).into_iter().map(deed).collect())
        };

        let attached = at_once(node, Deed::AtOnce(attaches(both(0).into())));
        hands::mount(node, "iscsi0", "app");
        hands::unmount(node, "iscsi0", "app");
        let detached = at_once(node, each(both(0).into(), detach));
        nothing_is_left(node);
        let staged = |wanted: Attach| Attach { staged_before: wanted.volume == volume("iscsi0"), ..wanted };
        let many = at_once(node, Deed::AtOnce(attaches(all().into_iter().map(staged).collect())));
        costs_no_more("attach", &attached, &many, &[CHECK]);
        let peak = many.0["peak"].as_u64().unwrap();
        assert!(peak >= 4, "only {peak} tools ran at the same time");

        at_once(node, each(all(), mount));
        let write = format!(
            "for d in {MOUNTS}/*/app; do echo $d >$d/f || exit 1; done; /run/bb/sync; ls -d {MOUNTS}/*/app | wc -l"
        );
        assert_eq!(node.exec_within(LIMIT, &write).ok("write"), "32");
        let read = format!("for d in {MOUNTS}/*/app; do read said <$d/f; [ $said = $d ] || exit 1; done");
        node.exec_within(LIMIT, &read).ok("each has its own");
        at_once(node, each(all(), unmount));
        let gone = at_once(node, each(all(), detach));
        costs_no_more("detach", &detached, &gone, &[]);
        nothing_is_left(node);
    });
}

#[test]
fn a_storage_that_hangs_delays_only_its_own_volumes() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        // By the second network alone, which is going to be cut.
        let far = |name: &str, lun, serial: &str| iscsi::wanted(name, unit(storage, OPEN, &[1], lun, serial));
        bring(node, far("a", 0, "rig-unit-a"));
        let point = hands::mount(node, "a", "app");
        let wait = "for s in /sys/class/iscsi_session/*/recovery_tmo; do echo 3600 >$s; done";
        node.exec(wait).ok("what waits shall wait longer than this test takes");
        node.exec(&format!("echo kept >{point}/f")).ok("write, to be flushed");
        hands::unmount(node, "a", "app");
        let hanging = vec![attach("far", export(storage, 1, "/srv/v/n9"), &[]), far("b", 1, "rig-unit-b")];
        let near = || (0..3).flat_map(|n| [folder(storage, n), disk(storage, &[0], n)]).collect::<Vec<_>>();
        let names: Vec<_> = near().into_iter().map(|wanted| wanted.volume).collect();

        storage.cut(1).unwrap();
        let mut deeds = attaches(hanging);
        deeds.push(detach(volume("a")));
        let hanging = deeds.len();
        deeds.extend(attaches(near()));
        let limits = |deed| Order { network: Some(30_000), detach: Some(30_000), ..order(deed) };
        let came = crate::leaving::give_and_leave(node, &limits(Deed::AtOnce(deeds)));
        let each = |deed: fn(VolumeId) -> Deed| Deed::AtOnce(names.iter().cloned().map(deed).collect());
        at_once(node, each(mount));
        at_once(node, each(unmount));
        let went = obey(node, each(detach));
        storage.join(1).unwrap();
        let (came, went) = (done(came), done(went));
        let (slow, quick) = came["answers"].as_array().unwrap().split_at(hanging);
        let ms = |answer: &Value| answer["ms"].as_u64().unwrap();
        let slowest = slow.iter().map(ms).max().unwrap();
        for answer in slow {
            assert!(answer["answer"].get("failed").is_some(), "{answer}");
        }
        for answer in quick.iter().chain(went["answers"].as_array().unwrap()) {
            assert!(answer["answer"].get("done").is_some(), "{answer}");
        }
        // While those that hang are still at it.
        assert!(quick.iter().all(|answer| ms(answer) < slowest), "{came}");
        println!(
            "others took at most {} ms, those that hang {slowest} ms",
            quick.iter().map(ms).max().unwrap()
        );
        node.wait_for("! grep -qsx hands /proc/[0-9]*/comm", LIMIT).ok("what was begun goes on");
        node.wait_for("! grep -vq running /sys/block/sd*/device/state", LIMIT).ok("its storage is back");
        // Where all this took longer than the kernel waits, it has given up what was never flushed, and says so once.
        if let Answer::Failed { text, .. } = hands::detach(node, "a") {
            assert!(text.contains("could not flush"), "{text}");
        }
        for name in ["a", "b", "far"] {
            done(hands::detach(node, name));
        }
        if !left(node).is_empty() {
            // The disk that the kernel was looking for when the attach ended.
            heal(node, "ended its sessions");
        }
        nothing_is_left(node);
    });
}

/// Units and folders, all blank.
fn serve(rig: &rig::Rig) -> (&Guest, &Guest) {
    nfs::serve(rig);
    let (storage, node) = iscsi::serve(rig);
    let script = format!(
        "link0={} link1={} count={EACH}\n{}",
        storage.address(0),
        storage.address(1),
        include_str!("many.sh")
    );
    storage.exec_within(LIMIT, &script).ok("many");
    (storage, node)
}
