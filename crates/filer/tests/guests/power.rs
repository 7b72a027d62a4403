use model::Bytes;
use serde_json::{Value, json};

use crate::iscsi::log_in;
use crate::storage::{TARGET, apply, permit, run, settings, volume};
use crate::{LIMIT, on_the_rig};

#[test]
fn after_a_loss_of_power_nodes_find_what_they_had_under_the_same_serials_and_handles() {
    on_the_rig(|rig| {
        let (storage, node) = (rig.guest("storage"), rig.guest("node1"));
        storage
            .exec("mkdir -p -m 777 /srv/pool/p0 && truncate -s 16M /srv/pool/p1.img && sync")
            .ok("volumes");
        let permits = [permit(rig, "node1")];
        let all = json!([
            volume("p0", "nfs", json!({ "directory": "/srv/pool/p0" }), Bytes::mib(16), &permits),
            volume("p1", "iscsi", json!({ "image": "/srv/pool/p1.img" }), Bytes::mib(16), &permits),
        ]);
        let routes = |said: &Value| [0, 1].map(|at| said["served"][at]["granted"][0]["route"].clone());
        let before = routes(&apply(rig, "serve", all.clone()));
        node.exec_within(LIMIT, "mkdir -p /mp && mount -t nfs -o vers=3,hard storage:/leister/p0 /mp")
            .ok("mount");
        let disk = log_in(node, &before[1]);
        // Acknowledged and flushed: both must be there afterwards.
        node.exec_within(LIMIT, "echo kept >/mp/f && sync /mp/f").ok("a file");
        let write = format!("echo kept | dd of={disk} bs=512 conv=sync,fsync oflag=direct");
        node.exec_within(LIMIT, &write).ok("a block");

        storage.kill().unwrap();
        storage.start().unwrap();
        storage.exec("modprobe btrfs; mkdir -p /srv/pool && mount /dev/vda /srv/pool").ok("the pool");
        let said = run(rig, &json!({ "settings": settings(rig), "serve": all })).ok("serve");
        assert_eq!(routes(&serde_json::from_str(&said).unwrap()), before);
        node.wait_for("[ \"$(cat /mp/f)\" = kept ] && echo more >/mp/g && sync /mp/g", LIMIT)
            .ok("NFS goes on");
        let read = format!("dd if={disk} bs=512 count=1 iflag=direct | tr -d '\\0' | grep -qx kept");
        node.wait_for(&read, LIMIT).ok("iSCSI goes on");
        node.exec_within(LIMIT, &format!("umount /mp; iscsiadm -m node -T {TARGET} --logout")).ok("leave");
        apply(rig, "withdraw", json!(["p0", "p1"]));
    });
}
