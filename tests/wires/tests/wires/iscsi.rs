//! Units of a kernel's iSCSI target.

use std::sync::Once;

use model::{Bytes, Chap, ChapAccount, Filesystem, IscsiRoute, NodeName, Route, Secret};
use rig::{Guest, Rig, services};
use wires::{Attach, Deed};

use crate::hands::{MOUNTS, attach, detach, done, failed, mount, obey, unmount, volume};
use crate::{LIMIT, on_rig};

pub(crate) const OPEN: &str = "iqn.2026-01.test.rig:open";
const CHAP: &str = "iqn.2026-01.test.rig:chap";

/// Brings the targets up with blank units.
pub(crate) fn serve(rig: &Rig) -> (&Guest, &Guest) {
    static CLIENT: Once = Once::new();
    let (storage, node) = (rig.guest("storage"), rig.guest("node1"));
    CLIENT.call_once(|| {
        let settings = "defaults {\n find_multipaths strict\n polling_interval 2\n}\n";
        services::block_client(node, settings).ok("client");
    });
    let name = NodeName::new("node1").unwrap();
    let identity = done(obey(node, Deed::Identity { name }));
    let script = format!(
        "initiator={} link0={} link1={} disk_a=/dev/ubdb disk_b=/dev/ubdc\n{}",
        identity["initiator"].as_str().unwrap(),
        storage.address(0),
        storage.address(1),
        include_str!("target.sh")
    );
    storage.exec(&script).ok("targets");
    if !left(node).is_empty() {
        let clear =
            "for point in $(grep leister-mounts /proc/mounts | cut -d' ' -f2 | tac); do umount $point; done
            multipath -F; iscsiadm -m node -u; iscsiadm -m node -o delete; rm -rf /run/leister-mounts; true";
        node.exec(clear).ok("what a failed test left goes");
    }
    set_size(storage, 64);
    let blank =
        "for u in a b; do dd if=/dev/zero of=/dev/mapper/$u bs=1M count=64 conv=fsync,notrunc 2>&1; done";
    storage.exec(blank).ok("blank units");
    (storage, node)
}

pub(crate) fn unit(storage: &Guest, target: &str, links: &[u8], lun: u16, serial: &str) -> IscsiRoute {
    IscsiRoute {
        target: target.to_owned(),
        portals: links.iter().map(|link| format!("{}:3260", storage.address(*link))).collect(),
        lun,
        serial: serial.to_owned(),
        chap: None,
    }
}

pub(crate) fn wanted(name: &str, route: IscsiRoute) -> Attach {
    Attach { filesystem: Some(Filesystem::Ext4), ..attach(name, Route::Iscsi(route), &[]) }
}

/// Gives unit a its size in MiB, as an array does.
pub(crate) fn set_size(storage: &Guest, size: u64) {
    let table = format!("0 {} linear /dev/ubdb 0", size * 2048);
    let script = format!("dmsetup suspend a && dmsetup load a --table '{table}'; dmsetup resume a");
    storage.exec(&script).ok("the array resizes it");
}

fn left(node: &Guest) -> String {
    let look = "grep leister-mounts /proc/mounts
        for f in /sys/class/iscsi_session/* /sys/block/sd* /sys/block/dm-*; do [ ! -e $f ] || echo $f; done
        for f in /run/leister-mounts/* /run/leister-mounts/*/.[a-z]*; do [ ! -e $f ] || echo $f; done";
    node.exec(look).ok("what is left")
}

#[track_caller]
pub(crate) fn nothing_is_left(node: &Guest) {
    assert_eq!(left(node), "");
}

#[test]
fn a_unit_is_formatted_used_grown_and_taken_away_with_its_data() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let route = unit(storage, OPEN, &[0], 0, "rig-unit-a");
        let first = done(obey(node, Deed::Attach(Box::new(wanted("a", route.clone())))));
        assert_eq!(first["formatted"], true);
        let again = done(obey(node, Deed::Attach(Box::new(wanted("a", route.clone())))));
        assert_eq!(again["formatted"], false);
        let point = mount(node, "a", "app");
        node.exec(&format!("echo kept >{point}/f && sync {point}/f")).ok("write");
        let larger = Deed::Grow { volume: volume("a"), size: Bytes::mib(96) };
        let (kind, text) = failed(obey(node, larger));
        assert!(kind == "Size" && text.contains("64"), "{kind}: {text}");
        set_size(storage, 96);
        done(obey(node, Deed::Grow { volume: volume("a"), size: Bytes::mib(96) }));
        let usage = done(obey(node, Deed::Usage { volume: volume("a") }));
        assert!(usage["total"].as_u64().unwrap() > 70 << 20, "{usage}");
        let (kind, _) = failed(detach(node, "a"));
        assert_eq!(kind, "InUse");
        unmount(node, "a", "app");
        done(detach(node, "a"));
        done(detach(node, "a"));
        nothing_is_left(node);
        let mut later = wanted("a", route);
        (later.size, later.staged_before) = (Bytes::mib(96), true);
        done(obey(node, Deed::Attach(Box::new(later))));
        let point = mount(node, "a", "app");
        assert_eq!(node.exec(&format!("cat {point}/f")).ok("read"), "kept");
        unmount(node, "a", "app");
        done(detach(node, "a"));
        nothing_is_left(node);
    });
}

#[test]
fn a_unit_on_two_portals_is_one_map_that_lives_on_one_path() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let route = unit(storage, OPEN, &[0, 1], 0, "rig-unit-a");
        done(obey(node, Deed::Attach(Box::new(wanted("a", route)))));
        let point = mount(node, "a", "app");
        let device = node.exec(&format!("grep {point} /proc/mounts")).ok("its device");
        assert!(device.starts_with("/dev/dm-") || device.starts_with("/dev/mapper/"), "{device}");
        assert_eq!(node.exec("ls /sys/class/iscsi_session | wc -l").ok("sessions").trim(), "2");
        storage.cut(0).unwrap();
        let written = node.exec_within(LIMIT, &format!("echo kept >{point}/f && sync {point}/f"));
        storage.join(0).unwrap();
        written.ok("write by the other path");
        assert_eq!(node.exec(&format!("cat {point}/f")).ok("read"), "kept");
        node.wait_for("! grep -vq running /sys/block/sd*/device/state", LIMIT).ok("both paths are back");
        unmount(node, "a", "app");
        done(detach(node, "a"));
        nothing_is_left(node);
    });
}

#[test]
fn another_volumes_unit_or_a_strangers_data_is_refused_untouched() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let hash = || storage.exec("sha256sum /dev/mapper/a /dev/mapper/b").ok("hash");
        storage.exec("printf precious | dd of=/dev/mapper/b bs=1 seek=5000000 conv=fsync,notrunc").ok("data");
        let before = hash();
        let stale = wanted("a", unit(storage, OPEN, &[0], 0, "rig-unit-b"));
        let (kind, text) = failed(obey(node, Deed::Attach(Box::new(stale))));
        assert!(kind == "Refused" && text.contains("rig-unit-a"), "{kind}: {text}");
        nothing_is_left(node);
        let filled = wanted("b", unit(storage, OPEN, &[0], 1, "rig-unit-b"));
        let answer = obey(node, Deed::Attach(Box::new(filled)));
        let (kind, text) = failed(answer);
        assert!(kind == "Refused" && text.contains("not zero"), "{kind}: {text}");
        nothing_is_left(node);
        let mut smaller = wanted("a", unit(storage, OPEN, &[0], 0, "rig-unit-a"));
        smaller.size = Bytes::mib(32);
        let (kind, text) = failed(obey(node, Deed::Attach(Box::new(smaller))));
        assert!(kind == "Size" && text.contains("64MiB"), "{kind}: {text}");
        nothing_is_left(node);
        let absent = wanted("c", unit(storage, OPEN, &[0], 7, "rig-unit-c"));
        let (kind, text) = failed(obey(node, Deed::Attach(Box::new(absent))));
        assert!(kind == "Missing" && text.contains("unit 7"), "{kind}: {text}");
        nothing_is_left(node);
        assert_eq!(hash(), before);
    });
}

#[test]
fn two_units_share_a_session_until_the_last_has_gone() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        for (name, lun, serial) in [("a", 0, "rig-unit-a"), ("b", 1, "rig-unit-b")] {
            done(obey(node, Deed::Attach(Box::new(wanted(name, unit(storage, OPEN, &[0], lun, serial))))));
        }
        mount(node, "a", "app");
        unmount(node, "a", "app");
        done(detach(node, "a"));
        let point = mount(node, "b", "app");
        node.exec(&format!("echo kept >{point}/f && sync {point}/f")).ok("write");
        unmount(node, "b", "app");
        done(detach(node, "b"));
        nothing_is_left(node);
    });
}

#[test]
fn a_detach_that_was_hindered_is_finished_by_the_next_one() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let route = unit(storage, OPEN, &[0], 0, "rig-unit-a");
        done(obey(node, Deed::Attach(Box::new(wanted("a", route)))));
        let point = mount(node, "a", "app");
        let device = node.exec(&format!("grep {point} /proc/mounts | cut -d' ' -f1")).ok("its device");
        node.exec(&format!("umount {MOUNTS}/a/.stage {point}")).ok("as if a detach had died");
        node.exec(&format!("dmsetup create holder --table '0 8 linear {device} 0'")).ok("a holder");
        let answer = detach(node, "a");
        node.exec("dmsetup remove holder").ok("it goes");
        let (kind, text) = failed(answer);
        assert!(kind == "Busy" && text.contains("built on it"), "{kind}: {text}");
        let findings = done(obey(node, Deed::Doctor { wires: Vec::new() })).to_string();
        assert!(findings.contains("attached but not mounted"), "{findings}");
        done(detach(node, "a"));
        nothing_is_left(node);
    });
}

#[test]
fn a_target_that_asks_for_chap_lets_in_who_knows_the_secret() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let account = |secret: &str| {
            let mut route = unit(storage, CHAP, &[0], 0, "rig-unit-b");
            let initiator = ChapAccount { user: "user".to_owned(), secret: Secret::new(secret) };
            route.chap = Some(Chap { initiator, target: None });
            Deed::Attach(Box::new(wanted("b", route)))
        };
        let (kind, text) = failed(obey(node, account("wrong-secret")));
        assert!(kind == "Unsupported" && text.contains("CHAP"), "{kind}: {text}");
        assert!(!text.contains("wrong-secret"), "{text}");
        done(obey(node, account("secret-of-node")));
        mount(node, "b", "app");
        unmount(node, "b", "app");
        done(detach(node, "b"));
        nothing_is_left(node);
    });
}
