//! Units by several paths: one map over them, whatever becomes of a path.

use host::{Passphrase, Passphrases};
use model::{Bytes, Secret};
use rig::Guest;
use wires::{Answer, Attach, Deed};

use crate::hands::{done, mount, obey, volume};
use crate::iscsi::{
    LARGER, OPEN, bring, hash, nothing_is_left, refused, serve, set_size, take_away, unit, wanted,
};
use crate::{LIMIT, on_rig};

const SPLIT: &str = "iqn.2026-01.test.rig:split";

/// Makes unit 0 by the second portal another one, as an array does that mapped it anew.
fn swap(storage: &Guest, unit: &str) {
    let script = format!("unit={unit}\n{}", include_str!("swap.sh"));
    storage.exec(&script).ok("another unit");
}

#[test]
fn a_unit_on_two_portals_is_one_map_that_lives_on_one_path() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        bring(node, wanted("a", unit(storage, OPEN, &[0, 1], 0, "rig-unit-a")));
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
        take_away(node, "a");
    });
}

#[test]
fn an_encrypted_unit_grows_through_paths_map_encryption_and_filesystem_while_it_is_used() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let current = Passphrase { name: "current".to_owned(), secret: Secret::new("correct horse") };
        let passphrases = Passphrases { current, previous: None };
        let route = unit(storage, OPEN, &[0, 1], 0, "rig-unit-a");
        let encryption = Some(passphrases.clone());
        bring(node, Attach { encryption, ..wanted("a", route) });
        let point = mount(node, "a", "app");
        node.exec(&format!("echo kept >{point}/f && sync {point}/f")).ok("write");
        let total = || done(obey(node, Deed::Usage { volume: volume("a") }))["total"].as_u64().unwrap();
        let before = total();
        let held =
            node.spawn(&format!("exec 9<{point}/f; while [ ! -e /run/done ]; do /run/bb/sleep 0.1; done"));
        let held = held.unwrap();
        set_size(storage, LARGER);
        let size = Bytes::mib(LARGER);
        let grown = obey(node, Deed::GrowEncrypted { volume: volume("a"), size, passphrases });
        node.exec("touch /run/done").ok("it ends");
        held.wait(LIMIT).ok("it ends");
        node.exec("rm /run/done").ok("and can begin again");
        done(grown);
        // In sectors: both paths, the map, and what is decrypted, which lacks the header.
        let sizes = node.exec("cat /sys/block/sd*/size; for d in /sys/block/dm-*; do cat $d/size; done");
        let sizes: Vec<u64> = sizes.ok("sizes").lines().map(|line| line.trim().parse().unwrap()).collect();
        let whole = LARGER * 2048;
        let decrypted = whole - 17 * 2048..whole - 16 * 2048;
        assert_eq!(sizes.iter().filter(|size| **size == whole).count(), 3, "{sizes:?}");
        assert_eq!(sizes.iter().filter(|size| decrypted.contains(*size)).count(), 1, "{sizes:?}");
        assert!(total() > before + (20 << 20), "{before}");
        assert_eq!(node.exec(&format!("cat {point}/f")).ok("read"), "kept");
        take_away(node, "a");
    });
}

#[test]
fn two_paths_that_lead_to_different_units_are_refused_untouched() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        swap(storage, "b");
        let before = hash(storage);
        let (kind, text) = refused(node, wanted("a", unit(storage, SPLIT, &[0, 1], 0, "rig-unit-a")));
        swap(storage, "a");
        assert!(kind == "Refused" && text.contains("rig-unit-b"), "{kind}: {text}");
        assert!(text.contains(&storage.address(1).to_string()), "{text}");
        nothing_is_left(node);
        assert_eq!(hash(storage), before);
    });
}

#[test]
fn a_path_that_comes_back_as_another_unit_is_taken_out_before_it_is_written_to() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let route = || unit(storage, SPLIT, &[0, 1], 0, "rig-unit-a");
        bring(node, wanted("a", route()));
        let point = mount(node, "a", "app");
        storage.cut(1).unwrap();
        let broken = node.wait_for("dmsetup status | grep -q ' F '", LIMIT);
        swap(storage, "b");
        storage.join(1).unwrap();
        broken.ok("the path is lost");
        node.wait_for("! grep -q FAILED /sys/class/iscsi_session/*/state", LIMIT).ok("its session is back");
        let again = Attach { staged_before: true, ..wanted("a", route()) };
        // Whoever sees it first takes it out: multipathd, before there is anything to refuse, or the healing.
        if let Answer::Failed { kind, text } = obey(node, Deed::Attach(Box::new(again))) {
            assert!(kind == "Refused" && text.contains("rig-unit-b"), "{kind}: {text}");
        }
        let heal = Deed::Heal { until: "leads to another unit".to_owned(), millis: 60_000 };
        let healed = done(obey(node, heal)).to_string();
        assert!(healed.contains("taken out") || healed.contains("not joined"), "{healed}");
        assert_eq!(node.exec("ls /sys/block/dm-*/slaves | grep -c sd").ok("one path"), "1");
        node.exec_within(LIMIT, &format!("echo kept >{point}/f && sync {point}/f"))
            .ok("write by the other path");
        let written = "dd if=/dev/mapper/b iflag=direct bs=1M status=none | tr -d '\\0' | wc -c";
        assert_eq!(storage.exec(written).ok("untouched"), "0");
        swap(storage, "a");
        let healed = done(obey(node, Deed::Heal { until: "joined its path".to_owned(), millis: 120_000 }));
        assert!(healed.to_string().contains("joined its path"), "{healed}");
        take_away(node, "a");
    });
}

#[test]
fn a_disk_that_multipathd_takes_while_it_is_formatted_is_used_through_its_map() {
    /// Found before the real one.
    const TOOL: &str = "/usr/local/sbin/mkfs.ext4";
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let formats = "#!/bin/bash
            disk=${*: -1}
            if [[ $disk = /dev/sd? ]]; then
                multipath -a $disk; multipathd add path ${disk#/dev/}
                until ls /sys/block/${disk#/dev/}/holders | grep -q dm; do /run/bb/sleep 0.1; done
            fi
            exec /sbin/mke2fs -t ext4 \"$@\"";
        let swap = format!("cat >{TOOL} <<'END'\n{formats}\nEND\nchmod +x {TOOL}");
        node.exec(&swap).ok("a format that multipathd is quicker than");
        let brought = bring(node, wanted("a", unit(storage, OPEN, &[0], 0, "rig-unit-a")));
        node.exec(&format!("rm {TOOL}")).ok("as it was");
        assert_eq!(brought["formatted"], true);
        let point = mount(node, "a", "app");
        let source = node.exec(&format!("grep ' {point} ' /proc/mounts")).ok("the mount");
        assert!(source.starts_with("/dev/dm-") || source.starts_with("/dev/mapper/"), "{source}");
        node.exec(&format!("echo kept >{point}/f && sync {point}/f")).ok("write");
        take_away(node, "a");
    });
}
