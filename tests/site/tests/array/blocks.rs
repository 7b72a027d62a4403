//! LUNs and namespaces: disks that one host has at a time.

use site::{ArraySite, wait};

use crate::files::end;
use crate::on_site;

/// Whether a LUN is reached by each of the array's two interfaces.
const PATHS: &str = "[ $(multipath -ll 2>/dev/null | grep -c 'active ready') = 2 ]";

#[test]
fn a_lun_is_grown_while_mounted_cloned_restored_moved_to_the_other_host_and_deleted() {
    on_site(|site| {
        lives(site, "san", "whole", PATHS);
        end(site, "whole", "/storage/volumes");
    });
}

#[test]
fn a_lun_among_others_in_a_flexvol_does_the_same() {
    on_site(|site| {
        lives(site, "luns", "one-of-many", PATHS);
        end(site, "one-of-many", "/storage/luns");
    });
}

/// From its create to its end, with as few mounts as there can be: each costs many seconds.
pub(crate) fn lives(site: &ArraySite, backend: &str, volume: &str, paths: &str) {
    let [one, two] = site.hosts.each_ref();
    one.create(volume, &format!("-o backend={backend}")).ok("create");
    one.hold(volume).ok("mount");
    one.guest().wait_for(paths, site::LIMIT).ok("a path by each interface");
    let refused = two.shell(volume, "ls /data");
    assert!(!refused.is_ok() && refused.stderr.contains("node `node1`"), "{refused:?}");
    one.within(volume, "echo kept >/data/file && sync").ok("write");
    one.leister(&format!("snapshot {volume} before")).ok("snapshot");
    one.within(volume, "echo after >/data/file && sync").ok("write again");
    // Both at once on one host: two file systems of one origin.
    let clone = format!("{volume}-clone");
    one.create(&clone, &format!("-o backend={backend} -o from={volume} -o fromSnapshot=before")).ok("clone");
    assert_eq!(one.shell(&clone, "cat /data/file").ok("read the clone"), "kept");
    one.docker(&format!("volume rm {clone}")).ok("rm the clone");
    assert_eq!(one.within(volume, "cat /data/file").ok("read the volume"), "after");
    let blocks = "df -k /data | tail -1 | tr -s \" \" | cut -d \" \" -f 2";
    let size = || one.within(volume, blocks).ok("df").parse::<u64>().unwrap();
    let before = size();
    one.leister(&format!("grow {volume} 256MiB")).ok("grow");
    wait("the file system has grown", || size() > 3 * before);
    one.end(volume).ok("end");
    one.leister(&format!("restore {volume} before --yes")).ok("restore");
    assert_eq!(two.shell(volume, "cat /data/file").ok("read on the second"), "kept");
    one.leister(&format!("delete snapshot {volume}/before --yes")).ok("delete the snapshot");
}
