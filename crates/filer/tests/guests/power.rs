use model::Bytes;
use serde_json::{Value, json};

use crate::iscsi::{log_in, unit};
use crate::nvme::connect;
use crate::storage::{TARGET, apply, permit, run, settings, volume};
use crate::{LIMIT, on_the_rig};

/// A thin device, which keeps in memory where it has put what it answered.
const THIN: &str = "set -e; modprobe -a dm_mod dm_thin_pool
    thin() {
        dmsetup create meta --table '0 8192 linear /dev/vdb 0'
        dmsetup create data --table '0 262144 linear /dev/vdb 8192'
        dmsetup create pool --table '0 262144 thin-pool /dev/mapper/meta /dev/mapper/data 128 0'
        [ -z $first ] || dmsetup message pool 0 'create_thin 0'
        dmsetup create thin --table '0 32768 thin /dev/mapper/pool 0'
        dmsetup mknodes
    };";

#[test]
fn after_a_loss_of_power_nodes_find_what_they_had_under_the_same_serials_and_handles() {
    on_the_rig(|rig| {
        let (storage, node) = (rig.guest("storage"), rig.guest("node1"));
        storage
            .exec(
                "mkdir -p -m 777 /srv/pool/p0 && truncate -s 16M /srv/pool/p1.img && truncate -s 16M /srv/pool/p2.img
                dd if=/dev/zero of=/dev/vdb bs=1M count=4 conv=fsync",
            )
            .ok("volumes");
        storage.exec(&format!("{THIN} first=1 thin && sync")).ok("a thin device");
        let permits = [permit(rig, "node1")];
        let all = json!([
            volume("p0", "nfs", json!({ "directory": "/srv/pool/p0" }), Bytes::mib(16), &permits),
            volume("p1", "iscsi", json!({ "image": "/srv/pool/p1.img" }), Bytes::mib(16), &permits),
            volume("p2", "nvme", json!({ "image": "/srv/pool/p2.img" }), Bytes::mib(16), &permits),
            volume("p3", "iscsi", json!({ "device": "/dev/mapper/thin" }), Bytes::mib(16), &permits),
        ]);
        let routes = |said: &Value| [0, 1, 2, 3].map(|at| said["served"][at]["granted"][0]["route"].clone());
        let before = routes(&apply(rig, "serve", all.clone()));
        node.exec_within(LIMIT, "mkdir -p /mp && mount -t nfs -o vers=3,hard storage:/leister/p0 /mp")
            .ok("mount");
        let disk = log_in(node, &before[1]);
        let disks = [disk, connect(node, &before[2]), unit(node, &before[3])];
        // Acknowledged and flushed: both must be there afterwards.
        node.exec_within(LIMIT, "echo kept >/mp/f && sync /mp/f").ok("a file");
        let write = format!("echo kept | dd of={} bs=512 conv=sync,fsync oflag=direct", disks[0]);
        node.exec_within(LIMIT, &write).ok("a block");
        // Answered and not flushed: a node repeats a flush that is cut off, and not what was answered before it.
        let write =
            |disk: &String| format!("echo answered | dd of={disk} bs=4k seek=1 conv=sync oflag=direct");
        node.exec_within(LIMIT, &disks.each_ref().map(write).join(" && ")).ok("blocks");

        storage.kill().unwrap();
        storage.start().unwrap();
        storage.exec("modprobe btrfs; mkdir -p /srv/pool && mount /dev/vda /srv/pool").ok("the pool");
        storage.exec(&format!("{THIN} thin")).ok("the thin device");
        let said = run(rig, &json!({ "settings": settings(rig), "serve": all })).ok("serve");
        assert_eq!(routes(&serde_json::from_str(&said).unwrap()), before);
        node.wait_for("[ \"$(cat /mp/f)\" = kept ] && echo more >/mp/g && sync /mp/g", LIMIT)
            .ok("NFS goes on");
        let holds = |disk: &str, block: u8, text: &str| {
            format!("dd if={disk} bs=4k skip={block} count=1 iflag=direct | tr -d '\\0' | grep -qx {text}")
        };
        node.wait_for(&holds(&disks[0], 0, "kept"), LIMIT).ok("iSCSI goes on");
        for disk in &disks {
            node.wait_for(&format!("dd if={disk} of=/dev/null bs=4k count=1 iflag=direct"), LIMIT)
                .ok("it is read");
        }
        let lost = disks.iter().filter(|disk| !node.exec_within(LIMIT, &holds(disk, 1, "answered")).is_ok());
        assert_eq!(lost.collect::<Vec<_>>(), Vec::<&String>::new(), "answered and not there");
        node.exec_within(
            LIMIT,
            &format!("umount /mp; nvme disconnect-all; iscsiadm -m node -T {TARGET} --logout"),
        )
        .ok("leave");
        let thin = json!({ "device": "/dev/mapper/thin" });
        let refused = volume("p4", "nvme", thin, Bytes::mib(16), &permits);
        let said = run(rig, &json!({ "settings": settings(rig), "serve": [refused] }));
        assert!(!said.is_ok() && said.stderr.contains("volatile write cache"), "{said:?}");
        apply(rig, "withdraw", json!(["p0", "p1", "p2", "p3"]));
        storage.exec("for d in thin pool data meta; do dmsetup remove $d; done").ok("the thin device goes");
    });
}
