//! What goes on while parts are missing, and what comes back.

use site::LIMIT;

use crate::{on_site, wait};

#[test]
fn an_instance_that_was_killed_disturbs_no_container_and_knows_everything_when_it_is_back() {
    on_site(|site| {
        let [one, two] = &site.hosts;
        for (volume, options) in [("steady", "-o fileSystemType=ext4"), ("flow", "")] {
            one.docker(&format!("volume create -d leister -o size=64MiB {options} {volume}")).ok("create");
            one.write(volume).ok("a writer");
        }
        one.node().kill();
        for volume in ["steady", "flow"] {
            let before = one.acknowledged(volume);
            wait(&format!("{volume} is written to"), || one.acknowledged(volume) > before + 5);
        }
        one.node().start().unwrap();
        let shown = one.leister("get volumes steady flow -o json").ok("get volumes");
        assert_eq!(shown.matches("\"node1\"").count(), 2, "{shown}");
        let findings = one.leister("doctor");
        assert!(findings.is_ok(), "{findings:?}");
        for volume in ["steady", "flow"] {
            assert!(!one.failed(volume));
            one.end(volume).ok("end");
            assert!(
                two.shell(volume, "wc -l </data/log").ok("on the other host").parse::<u64>().unwrap() > 5
            );
            two.docker(&format!("volume rm {volume}")).ok("rm");
        }
        let left = "grep /srv/node/leister/mounts /proc/mounts || ls -d /sys/class/iscsi_session/*";
        one.guest().wait_for(&format!("! ({left}) 2>/dev/null"), LIMIT).ok("nothing is left");
    });
}

#[test]
fn access_that_was_taken_by_hand_on_the_storage_comes_back_and_what_others_gave_stays() {
    on_site(|site| {
        let [one, two] = &site.hosts;
        let (storage, address) = (site.filer.guest(), one.guest().address(0));
        one.docker("volume create -d leister -o size=64MiB open").ok("create");
        one.docker("volume create -d leister -o size=64MiB -o fileSystemType=ext4 unit").ok("create");
        one.hold("open").ok("mount");
        one.hold("unit").ok("mount");
        let acls = "/sys/kernel/config/target/iscsi/*/tpgt_1/acls";
        let foreign = "/sys/kernel/config/target/iscsi/iqn.2026-01.test.foreign:target";
        // The NFS server's root is the filer's own, and what others export is below it.
        let by_hand = format!(
            "set -e
            mkdir -p /var/lib/leister/filer/exports/foreign && exportfs -i -o ro,fsid=77 10.77.0.99:/foreign
            exportfs -u {address}:/leister/site.leister_open
            mkdir -p {foreign}/tpgt_1
            for map in {acls}/*node1/lun_*; do rm $map/volume; rmdir $map; done"
        );
        storage.exec(&by_hand).ok("taken by hand");
        let is_back = format!("exportfs -v | grep -q {address} && ls -d {acls}/*node1/lun_*");
        storage.wait_for(&is_back, LIMIT).ok("access is back");
        for volume in ["open", "unit"] {
            let write = format!("docker exec {volume} sh -c 'echo back >/data/file && sync /data/file'");
            one.guest().wait_for(&write, LIMIT).ok("I/O goes on");
        }
        let stays = format!("exportfs -v | grep -q 10.77.0.99 && ls -d {foreign}/tpgt_1");
        storage.exec(&stays).ok("what others gave stays");
        let undo = format!("exportfs -u 10.77.0.99:/foreign; rmdir {foreign}/tpgt_1 {foreign}");
        storage.exec(&undo).ok("undo");
        for volume in ["open", "unit"] {
            one.end(volume).ok("end");
            assert_eq!(two.shell(volume, "cat /data/file").ok("read"), "back");
            two.docker(&format!("volume rm {volume}")).ok("rm");
        }
    });
}
