//! Detaching what somebody holds, or what is not there any more.

use std::time::{Duration, Instant};

use rig::Guest;
use wires::{Answer, Attach, Deed, Order};

use crate::hands::{MOUNTS, detach, done, failed, mount, obey, order, unmount, volume};
use crate::iscsi::{OPEN, bring, left, nothing_is_left, serve, take_away, unit, wanted};
use crate::{LIMIT, on_rig};

/// Far more than the limits below, and what a loaded machine needs: what hangs would wait for ever.
pub(crate) const FAR: Duration = Duration::from_secs(120);

/// Gives hands an order and does not wait for their end, which may have to wait for a storage that is gone.
pub(crate) fn give_and_leave(node: &Guest, order: &Order) -> Answer {
    node.put("/run/order", serde_json::to_string(order).unwrap()).unwrap();
    let script =
        format!("rm -f /run/answer; {} </run/order >/run/answer 2>&1 &", env!("CARGO_BIN_EXE_hands"));
    node.exec(&script).ok("an order");
    node.wait_for("grep -q . /run/answer", LIMIT).ok("an answer");
    serde_json::from_slice(&node.read("/run/answer").unwrap()).unwrap()
}

#[test]
fn a_device_that_is_held_stays_and_says_by_whom_and_a_detach_that_was_hindered_goes_on() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        bring(node, wanted("a", unit(storage, OPEN, &[0], 0, "rig-unit-a")));
        let point = mount(node, "a", "app");
        let busy = |answer, named: &[&str]| {
            let (kind, text) = failed(answer);
            assert!(kind == "Busy" && named.iter().all(|name| text.contains(name)), "{kind}: {text}");
        };
        let wait = "while [ ! -e /run/done ]; do /run/bb/sleep 0.1; done";
        let ends = |job: rig::Job| {
            node.exec("touch /run/done").ok("it ends");
            job.wait(LIMIT).ok("it ends");
            node.exec("rm /run/done").ok("another can begin");
        };
        let worker = node.spawn(&format!("cd {point} && touch /run/begun && {wait}")).unwrap();
        node.wait_for("[ -e /run/begun ]", LIMIT).ok("it works there");
        let deed = Deed::Unmount { volume: volume("a"), reference: "app".to_owned() };
        let answer = obey(node, deed);
        ends(worker);
        busy(answer, &["pid", "working in", &point]);

        let device = node.exec(&format!("grep {point} /proc/mounts | cut -d' ' -f1")).ok("its device");
        node.exec(&format!("umount {MOUNTS}/a/.stage {point}")).ok("as if a detach had died");
        node.exec(&format!("dmsetup create holder --table '0 8 linear {device} 0'")).ok("a holder");
        let answer = detach(node, "a");
        node.exec("dmsetup remove holder").ok("it goes");
        busy(answer, &["(holder)", "built on it"]);
        let findings = done(obey(node, Deed::Doctor { wires: Vec::new() })).to_string();
        assert!(findings.contains("attached but not mounted"), "{findings}");

        node.exec(&format!("modprobe -q loop; losetup -r /dev/loop7 {device}")).ok("a loop device");
        let answer = detach(node, "a");
        node.exec("losetup -d /dev/loop7").ok("it goes");
        busy(answer, &["loop7", "built on it"]);

        node.exec(&format!("mkdir -p /mnt/a && mount {device} /mnt/a")).ok("a mount elsewhere");
        let answer = detach(node, "a");
        node.exec("umount /mnt/a").ok("it goes");
        busy(answer, &["mounted at /mnt/a"]);

        let opener = node.spawn(&format!("exec 9<{device}; touch /run/opened; {wait}")).unwrap();
        node.wait_for("[ -e /run/opened ]", LIMIT).ok("it is open");
        let answer = detach(node, "a");
        ends(opener);
        busy(answer, &["pid", "open"]);

        done(detach(node, "a"));
        nothing_is_left(node);
    });
}

#[test]
fn a_detach_from_a_target_that_hangs_ends_at_its_limit_and_goes_on_when_it_is_back() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let route = unit(storage, OPEN, &[0, 1], 0, "rig-unit-a");
        bring(node, wanted("a", route.clone()));
        let point = mount(node, "a", "app");
        queue(node);
        node.exec(&format!("echo kept >{point}/f")).ok("write, to be flushed");
        storage.stop().unwrap();
        unmount(node, "a", "app");
        let began = Instant::now();
        let deed = Deed::Detach { volume: volume("a") };
        let answer = give_and_leave(node, &Order { detach: Some(5_000), ..order(deed) });
        let took = began.elapsed();
        storage.cont().unwrap();
        let (kind, text) = failed(answer);
        assert!(
            kind == "Unanswered" && text.contains("within 5s") && text.contains("kept for it"),
            "{kind}: {text}"
        );
        assert!(took < FAR, "{took:?}");
        println!("the detach from a target that hangs took {took:?}");
        node.wait_for("! grep -qsx hands /proc/[0-9]*/comm", LIMIT).ok("what was begun goes on");
        done(detach(node, "a"));
        nothing_is_left(node);
        bring(node, Attach { staged_before: true, ..wanted("a", route) });
        let point = mount(node, "a", "app");
        assert_eq!(node.exec(&format!("cat {point}/f")).ok("read"), "kept");
        take_away(node, "a");
    });
}

#[test]
fn what_was_taken_from_this_node_goes_although_its_target_hangs() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        bring(node, wanted("a", unit(storage, OPEN, &[0, 1], 0, "rig-unit-a")));
        bring(node, wanted("b", unit(storage, OPEN, &[0], 1, "rig-unit-b")));
        let (a, b) = (mount(node, "a", "app"), mount(node, "b", "app"));
        queue(node);
        node.exec(&format!("echo lost >{a}/f; echo lost >{b}/f")).ok("write, to be lost");
        storage.stop().unwrap();
        let abandon = |name: &str| Deed::Abandon { volume: volume(name) };
        let held = obey(node, abandon("a"));
        for name in ["a", "b"] {
            unmount(node, name, "app");
        }
        let began = Instant::now();
        let detach = Deed::Detach { volume: volume("a") };
        let waiting = give_and_leave(node, &Order { detach: Some(3_000), ..order(detach) });
        let gone = obey(node, Deed::AtOnce(vec![abandon("a"), abandon("b")]));
        let took = began.elapsed();
        let left = left(node);
        storage.cont().unwrap();
        assert_eq!(failed(held).0, "InUse");
        assert_eq!(failed(waiting).0, "Unanswered");
        let gone = done(gone);
        for answer in gone["answers"].as_array().unwrap() {
            assert!(answer["answer"].get("done").is_some(), "{gone}");
        }
        assert!(took < FAR, "{took:?}");
        println!("giving up two volumes of a target that hangs took {took:?}");
        assert_eq!(left, "");
    });
}

/// As a fence does where the kernel's target is the storage: the unit goes, and the sessions work.
#[test]
fn what_was_taken_from_this_node_goes_although_a_detach_waits_for_a_unit_that_is_gone() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let configure = |deed: &str| {
            let file = "/etc/multipath/conf.d/queue.conf";
            node.exec(&format!("mkdir -p /etc/multipath/conf.d; {deed} {file} && multipathd reconfigure"))
                .ok(deed)
        };
        configure("printf 'overrides {\\n no_path_retry queue\\n}\\n' >");
        bring(node, wanted("a", unit(storage, OPEN, &[0, 1], 1, "rig-unit-b")));
        let point = mount(node, "a", "app");
        node.exec(&format!("echo lost >{point}/f")).ok("write, to be lost");
        // Not unit 0, in whose place Linux has one that answers.
        let units = |deed: &str| {
            let units = format!("/sys/kernel/config/target/iscsi/{OPEN}/tpgt_*/lun/lun_1");
            storage.exec(&format!("for unit in {units}; do {deed} || exit; done")).ok(deed)
        };
        units("rm $unit/b");
        let seen = "for d in /sys/block/dm-*; do read n <$d/dm/name
            for path in $d/slaves/*/dev; do dmsetup message $n 0 fail_path $(cat $path) || exit; done
        done";
        // Not while multipathd is at it.
        node.wait_for(seen, LIMIT).ok("the node sees it");
        unmount(node, "a", "app");
        let both = [Deed::Detach { volume: volume("a") }, Deed::Abandon { volume: volume("a") }];
        let gone = give_and_leave(node, &Order { detach: Some(40_000), ..order(Deed::AtOnce(both.into())) });
        let left = left(node);
        units("ln -s /sys/kernel/config/target/core/iblock_0/b $unit/b");
        configure("rm");
        let gone = done(gone);
        assert!(gone["answers"][1]["answer"].get("done").is_some(), "{gone}");
        // A session may stay: the disk of a path that has left the map is nobody's.
        assert!(!left.contains("leister-mounts/a") && !left.contains("dm-"), "{left}");
    });
}

#[test]
fn hands_killed_while_they_give_up_what_was_taken_from_this_node_go_on_where_they_were() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let abandon = || Deed::Abandon { volume: volume("a") };
        let mut staged_before = false;
        // Before the sessions give up, and while the device goes.
        for seconds in [1, 7] {
            let route = unit(storage, OPEN, &[0, 1], 0, "rig-unit-a");
            bring(node, Attach { staged_before, ..wanted("a", route) });
            staged_before = true;
            let point = mount(node, "a", "app");
            queue(node);
            node.exec(&format!("echo lost >{point}/f")).ok("write, to be lost");
            unmount(node, "a", "app");
            storage.stop().unwrap();
            node.put("/run/order", serde_json::to_string(&order(abandon())).unwrap()).unwrap();
            let hands = env!("CARGO_BIN_EXE_hands");
            let killed = format!(
                "{hands} </run/order >/run/answer & p=$!; sleep {seconds}; kill -9 $p && [ ! -s /run/answer ]"
            );
            node.exec_within(LIMIT, &killed).ok("killed before they were done");
            let gone = obey(node, abandon());
            let left = left(node);
            storage.cont().unwrap();
            done(gone);
            assert_eq!(left, "", "killed after {seconds} s");
        }
    });
}

/// Lets the maps wait for a path for ever, as those of most arrays do.
fn queue(node: &Guest) {
    let queue = "for d in /sys/block/dm-*; do read u <$d/dm/uuid; read n <$d/dm/name
        case $u in mpath-*) dmsetup message $n 0 queue_if_no_path;; esac
    done";
    node.exec(queue).ok("queueing");
}
