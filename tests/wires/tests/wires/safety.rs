//! Devices that are not what they should be: refused with the evidence, and nothing is written to them.

use model::{Bytes, IscsiRoute};
use rig::Guest;
use wires::Deed;

use crate::hands::{detach, done, failed, mount, obey, unmount};
use crate::iscsi::{OPEN, nothing_is_left, serve, unit, wanted};
use crate::{LIMIT, on_rig};

/// All that the storage has, whatever a unit's table makes unreadable.
fn hash(storage: &Guest) -> String {
    storage.exec("sha256sum /dev/ubdb /dev/ubdc").ok("hash")
}

/// Lets reads of a unit fail from this MiB on, for so many.
fn break_unit(storage: &Guest, from: u64, length: u64) {
    let (head, tail) = (from * 2048, (from + length) * 2048);
    let rest = 64 * 2048 - tail;
    let mut table = vec![format!("{head} {} error", length * 2048)];
    if head > 0 {
        table.insert(0, format!("0 {head} linear /dev/ubdb 0"));
    }
    if rest > 0 {
        table.push(format!("{tail} {rest} linear /dev/ubdb {tail}"));
    }
    let table = table.join("\n");
    let script = format!("dmsetup suspend a && dmsetup load a <<'END'\n{table}\nEND\ndmsetup resume a");
    storage.exec(&script).ok("some of it cannot be read");
}

fn mend_unit(storage: &Guest) {
    let script =
        "dmsetup suspend a && dmsetup load a --table '0 131072 linear /dev/ubdb 0'; dmsetup resume a";
    storage.exec(script).ok("mended");
}

/// Shows unit b where the second portal showed unit a.
fn split(storage: &Guest) {
    let script = format!(
        "set -e; cd /sys/kernel/config/target/iscsi/{OPEN}
        rmdir tpgt_1/np/{portal}
        mkdir -p tpgt_2/np/{portal} tpgt_2/lun/lun_0
        ln -s /sys/kernel/config/target/core/iblock_0/b tpgt_2/lun/lun_0/b
        for a in 'authentication 0' 'generate_node_acls 1' 'cache_dynamic_acls 1' 'demo_mode_write_protect 0'; do
            echo ${{a#* }} >tpgt_2/attrib/${{a% *}}
        done
        echo 1 >tpgt_2/enable",
        portal = format_args!("{}:3260", storage.address(1))
    );
    storage.exec(&script).ok("another unit at the second portal");
}

fn join(storage: &Guest) {
    let script = format!(
        "cd /sys/kernel/config/target/iscsi/{OPEN}; echo 0 >tpgt_2/enable
        rm tpgt_2/lun/lun_0/b; rmdir tpgt_2/lun/lun_0 tpgt_2/np/{portal} tpgt_2
        mkdir -p tpgt_1/np/{portal}; [ ! -d tpgt_2 ]",
        portal = format_args!("{}:3260", storage.address(1))
    );
    storage.exec(&script).ok("one unit at both portals");
}

fn attach(route: IscsiRoute) -> Deed {
    Deed::Attach(Box::new(wanted("a", route)))
}

#[test]
fn a_device_whose_read_fails_is_not_blank() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let before = hash(storage);
        for (from, length) in [(0, 1), (1, 2), (32, 1), (63, 1)] {
            break_unit(storage, from, length);
            let answer = obey(node, attach(unit(storage, OPEN, &[0], 0, "rig-unit-a")));
            mend_unit(storage);
            let (kind, text) = failed(answer);
            assert!(kind == "Refused" || kind == "Tool", "unreadable from {from} MiB: {kind}: {text}");
            assert!(text.contains("read") || text.contains("blkid"), "unreadable from {from} MiB: {text}");
            nothing_is_left(node);
        }
        assert_eq!(hash(storage), before);
    });
}

#[test]
fn two_portals_that_lead_to_different_units_are_refused() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let before = hash(storage);
        split(storage);
        let answer = obey(node, attach(unit(storage, OPEN, &[0, 1], 0, "rig-unit-a")));
        join(storage);
        let (kind, text) = failed(answer);
        assert!(kind == "Refused" && text.contains("rig-unit-b"), "{kind}: {text}");
        nothing_is_left(node);
        assert_eq!(hash(storage), before);
    });
}

#[test]
fn a_unit_of_another_size_than_recorded_is_refused() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let before = hash(storage);
        for size in [Bytes::mib(32), Bytes::mib(63), Bytes::mib(65), Bytes::mib(128)] {
            let mut wanted = wanted("a", unit(storage, OPEN, &[0], 0, "rig-unit-a"));
            wanted.size = size;
            let (kind, text) = failed(obey(node, Deed::Attach(Box::new(wanted))));
            assert!(kind == "Size" && text.contains(&size.to_string()), "{kind}: {text}");
            nothing_is_left(node);
        }
        assert_eq!(hash(storage), before);
    });
}

#[test]
fn a_unit_that_comes_back_with_other_contents_is_refused() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let route = || unit(storage, OPEN, &[0], 0, "rig-unit-a");
        done(obey(node, attach(route())));
        let point = mount(node, "a", "app");
        node.exec(&format!("echo kept >{point}/f && sync {point}/f")).ok("write");
        unmount(node, "a", "app");
        done(detach(node, "a"));
        nothing_is_left(node);
        storage.exec("dd if=/dev/ubdb of=/run/kept bs=1M count=64").ok("what it was");
        let later = || {
            let mut wanted = wanted("a", route());
            wanted.staged_before = true;
            Deed::Attach(Box::new(wanted))
        };
        for (what, expected) in [
            (
                "dd if=/dev/zero of=/dev/mapper/a bs=1M count=64 conv=fsync,notrunc",
                "damaged or the wrong device",
            ),
            (
                "mkfs.xfs -qf -d size=60m /dev/mapper/a || mkswap -f /dev/mapper/a; sync /dev/mapper/a",
                "wrong device",
            ),
            (
                "dd if=/dev/zero of=/dev/mapper/a bs=1M count=64 conv=fsync,notrunc
              printf x | dd of=/dev/mapper/a bs=1 seek=4000000 conv=fsync,notrunc",
                "wrong device",
            ),
        ] {
            storage.exec_within(LIMIT, what).ok(what);
            let before = hash(storage);
            let (kind, text) = failed(obey(node, later()));
            assert!(kind == "Refused" && text.contains(expected), "{what}: {kind}: {text}");
            nothing_is_left(node);
            assert_eq!(hash(storage), before, "{what}");
        }
        storage
            .exec("dd if=/run/kept of=/dev/mapper/a bs=1M conv=fsync,notrunc; rm /run/kept")
            .ok("restored");
        done(obey(node, later()));
        let point = mount(node, "a", "app");
        assert_eq!(node.exec(&format!("cat {point}/f")).ok("read"), "kept");
        unmount(node, "a", "app");
        done(detach(node, "a"));
        nothing_is_left(node);
    });
}
