//! Volumes are made, mounted, written, read and given back over the network.

use crate::stage::on_stage;

#[test]
fn a_file_and_a_block_volume_are_made_written_and_read_over_the_network() {
    on_stage(|stage| {
        let node = &stage.node1;
        node.create("files", &[("size", "64MiB")]);
        node.create("blocks", &[("size", "64MiB"), ("fstype", "ext4")]);
        for (volume, filesystem) in [("files", "nfs4"), ("blocks", "ext4")] {
            let point = node.mount(volume, "app");
            let seen = node.exec(&format!("echo kept >{point}/f && sync {point}/f && stat -f -c %T {point}"));
            println!("{volume}: {}", seen.ok("write"));
            let table = node.exec(&format!("grep ' {point} ' /proc/mounts")).ok("its mount");
            assert!(table.contains(filesystem), "{table}");
            node.unmount(volume, "app");
            let point = node.mount(volume, "other");
            assert_eq!(node.exec(&format!("cat {point}/f")).ok("read"), "kept");
            node.unmount(volume, "other");
            node.remove(volume);
        }
        let left = stage.filer.exec("ls /srv/pool/volumes").ok("volumes");
        assert_eq!(left, "");
    });
}

#[test]
fn only_the_node_that_a_volume_is_published_to_reaches_it() {
    on_stage(|stage| {
        let (node, other) = (&stage.node1, &stage.node2);
        node.create("own", &[("size", "32MiB")]);
        node.create("unit", &[("size", "32MiB"), ("fstype", "ext4")]);
        let server = stage.filer.guest().address(0);
        let by_hand = format!(
            "mkdir -p /by-hand && mount -t nfs -o vers=4.2,retry=0 {server}:/leister/tenant.leister_own /by-hand"
        );
        let log_in = format!(
            "target=$(iscsiadm -m discovery -t sendtargets -p {server} | cut -d' ' -f2 | sort -u) &&
             iscsiadm -m node -T $target -p {server} --login"
        );
        assert!(!node.exec(&by_hand).is_ok(), "it is published to nobody");
        for (volume, container) in [("own", "app"), ("unit", "app")] {
            let point = node.mount(volume, container);
            node.exec(&format!("echo mine >{point}/f && sync {point}/f")).ok("write");
        }
        node.exec(&format!("{by_hand} && grep mine /by-hand/f && umount /by-hand")).ok("its node by hand");
        let refused = other.exec(&by_hand);
        assert!(!refused.is_ok() && refused.stderr.contains("denied"), "{refused:?}");
        let refused = other.exec(&log_in);
        assert!(!refused.is_ok() && refused.stderr.contains("authorization"), "{refused:?}");
        assert_eq!(other.exec("ls /sys/class/iscsi_session 2>/dev/null").stdout, "");
        for volume in ["own", "unit"] {
            node.unmount(volume, "app");
            node.remove(volume);
        }
        assert!(!node.exec(&by_hand).is_ok(), "it is gone");
    });
}
