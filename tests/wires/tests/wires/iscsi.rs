//! Units of a kernel's iSCSI target.

use model::{Bytes, Filesystem, IscsiRoute, NodeName, Route};
use rig::{Guest, Rig, services};
use wires::{Attach, Deed, Order};

use crate::hands::{attach, detach, done, failed, give, mount, obey, order, unmount, volume};
use crate::{LIMIT, on_rig};

pub(crate) const OPEN: &str = "iqn.2026-01.test.rig:open";
/// What a unit has in MiB, and what it is grown to: more than what a filesystem may leave unused.
pub(crate) const SIZE: u64 = 24;
pub(crate) const LARGER: u64 = 48;

/// What a node with iSCSI has running.
pub(crate) fn prepare(node: &Guest) {
    let settings = "defaults {\n find_multipaths strict\n recheck_wwid yes\n polling_interval 2\n}\n";
    services::block_client(node, settings).ok("client");
}

/// Brings the targets up with blank units.
pub(crate) fn serve(rig: &Rig) -> (&Guest, &Guest) {
    let (storage, node) = (rig.guest("storage"), rig.guest("node1"));
    let name = NodeName::new("node1").unwrap();
    let identity = done(obey(node, Deed::Identity { name }));
    let script = format!(
        "initiator={} link0={} link1={} disk_a=/dev/ubdb disk_b=/dev/ubdc sectors={}\n{}",
        identity["initiator"].as_str().unwrap(),
        storage.address(0),
        storage.address(1),
        SIZE * 2048,
        include_str!("target.sh")
    );
    clear(node);
    storage.exec_within(LIMIT, &script).ok("targets");
    (storage, node)
}

/// What a failed test left goes.
pub(crate) fn clear(node: &Guest) {
    if !left(node).is_empty() {
        node.kill().unwrap();
        node.start().unwrap();
        prepare(node);
    }
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
    let route = Route::Iscsi(route);
    Attach { filesystem: Some(Filesystem::Ext4), size: Bytes::mib(SIZE), ..attach(name, route, &[]) }
}

#[track_caller]
pub(crate) fn bring(node: &Guest, wanted: Attach) -> serde_json::Value {
    done(obey(node, Deed::Attach(Box::new(wanted))))
}

#[track_caller]
pub(crate) fn refused(node: &Guest, wanted: Attach) -> (String, String) {
    failed(obey(node, Deed::Attach(Box::new(wanted))))
}

/// Gives unit a its size in MiB, as an array does.
pub(crate) fn set_size(storage: &Guest, size: u64) {
    let table = format!("0 {} linear /dev/ubdb 0", size * 2048);
    let script = format!("dmsetup load a --table '{table}' && dmsetup resume a");
    storage.exec(&script).ok("the array resizes it");
}

pub(crate) fn left(node: &Guest) -> String {
    let look = "grep leister-mounts /proc/mounts
        for f in /sys/class/iscsi_session/* /sys/block/sd* /sys/block/dm-* /etc/iscsi/nodes/*; do
            [ ! -e $f ] || echo $f
        done
        for f in /run/leister-mounts/* /run/leister-mounts/*/.[a-z]* /run/leister-mounts/.sessions/*; do
            [ ! -e $f ] || echo $f
        done";
    node.exec(look).ok("what is left")
}

#[track_caller]
pub(crate) fn nothing_is_left(node: &Guest) {
    assert_eq!(left(node), "");
}

/// What is on both units now. Not by the storage's own cache of them, which a write from outside goes past.
pub(crate) fn hash(storage: &Guest) -> String {
    let look = "for u in a b; do dd if=/dev/mapper/$u iflag=direct bs=1M status=none | sha256sum; done";
    storage.exec_within(LIMIT, look).ok("hash")
}

/// Ends the use of a volume that one reference has.
#[track_caller]
pub(crate) fn take_away(node: &Guest, name: &str) {
    unmount(node, name, "app");
    done(detach(node, name));
    nothing_is_left(node);
}

#[test]
fn a_unit_is_formatted_used_grown_and_taken_away_with_its_data() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let route = unit(storage, OPEN, &[0], 0, "rig-unit-a");
        assert_eq!(bring(node, wanted("a", route.clone()))["formatted"], true);
        assert_eq!(bring(node, wanted("a", route.clone()))["formatted"], false);
        let point = mount(node, "a", "app");
        node.exec(&format!("echo kept >{point}/f && sync {point}/f")).ok("write");
        let larger = || Deed::Grow { volume: volume("a"), size: Bytes::mib(LARGER) };
        let (kind, text) = failed(obey(node, larger()));
        assert!(kind == "Size" && text.contains("24MiB"), "{kind}: {text}");
        set_size(storage, LARGER);
        done(obey(node, larger()));
        let usage = done(obey(node, Deed::Usage { volume: volume("a") }));
        assert!(usage["total"].as_u64().unwrap() > 36 << 20, "{usage}");
        let (kind, _) = failed(detach(node, "a"));
        assert_eq!(kind, "InUse");
        take_away(node, "a");
        done(detach(node, "a"));
        let mut later = wanted("a", route);
        (later.size, later.staged_before) = (Bytes::mib(LARGER), true);
        bring(node, later);
        let point = mount(node, "a", "app");
        assert_eq!(node.exec(&format!("cat {point}/f")).ok("read"), "kept");
        take_away(node, "a");
    });
}

#[test]
fn another_volumes_unit_or_a_strangers_data_is_refused_untouched() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        storage.exec("printf precious | dd of=/dev/mapper/b bs=1 seek=5013504 conv=fsync,notrunc").ok("data");
        let before = hash(storage);
        let open = |lun, serial| unit(storage, OPEN, &[0], lun, serial);
        let refuse = |wanted, kind: &str, evidence: &str| {
            let (found, text) = refused(node, wanted);
            assert!(found == kind && text.contains(evidence), "{found}: {text}");
            nothing_is_left(node);
        };
        refuse(wanted("a", open(0, "rig-unit-b")), "Refused", "rig-unit-a");
        refuse(wanted("b", open(1, "rig-unit-b")), "Refused", "not zero");
        for size in [SIZE / 2, SIZE * 2] {
            let size = Bytes::mib(size);
            refuse(Attach { size, ..wanted("a", open(0, "rig-unit-a")) }, "Size", "24MiB");
        }
        refuse(wanted("c", open(7, "rig-unit-c")), "Missing", "unit 7");
        assert_eq!(hash(storage), before);
    });
}

#[test]
fn two_units_share_a_session_until_the_last_has_gone() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        for (name, lun, serial) in [("a", 0, "rig-unit-a"), ("b", 1, "rig-unit-b")] {
            bring(node, wanted(name, unit(storage, OPEN, &[0], lun, serial)));
        }
        mount(node, "a", "app");
        unmount(node, "a", "app");
        done(detach(node, "a"));
        let point = mount(node, "b", "app");
        node.exec(&format!("echo kept >{point}/f && sync {point}/f")).ok("write");
        take_away(node, "b");
    });
}

#[test]
fn a_raw_unit_by_one_path_needs_no_multipath_and_a_strangers_session_stays() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let by_hand = format!(
            "iscsiadm -m node -o new -T {OPEN} -p {0}:3260 && iscsiadm -m node -T {OPEN} -p {0}:3260 -o update \\
             -n node.session.scan -v manual && iscsiadm -m node -T {OPEN} -p {0}:3260 -l",
            storage.address(0)
        );
        node.exec_within(LIMIT, &by_hand).ok("somebody logs in by hand");
        let raw = Attach { filesystem: None, ..wanted("a", unit(storage, OPEN, &[0, 1], 0, "rig-unit-a")) };
        let single = Order { single_path: true, ..order(Deed::Attach(Box::new(raw))) };
        let attached = done(give(node, &single));
        let device = attached["device"].as_str().unwrap().to_owned();
        assert!(device.starts_with("/dev/sd"), "{device}");
        assert_eq!(node.exec("ls /sys/class/iscsi_session | wc -l").ok("sessions"), "1");
        node.exec(&format!("printf kept | dd of={device} bs=4k conv=sync,fsync 2>&1")).ok("write");
        done(detach(node, "a"));
        assert_eq!(
            storage
                .exec("dd if=/dev/mapper/a iflag=direct bs=4k count=1 status=none | head -c 4")
                .ok("written"),
            "kept"
        );
        assert_eq!(node.exec("ls /sys/block | grep -c ^sd").stdout.trim(), "0");
        assert_eq!(node.exec("ls /sys/class/iscsi_session | wc -l").ok("sessions"), "1");
        node.exec_within(LIMIT, "iscsiadm -m node -u && iscsiadm -m node -o delete").ok("it goes");
        nothing_is_left(node);
    });
}
