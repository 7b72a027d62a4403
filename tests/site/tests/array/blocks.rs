//! LUNs: disks that one host has at a time.

use site::ArraySite;

use crate::files::ends;
use crate::{on_array, on_site};

#[test]
fn a_lun_is_formatted_moved_between_hosts_cloned_restored_grown_while_mounted_and_deleted() {
    on_site(|site| {
        moves(site, "san", "lun");
        copies(site, "san", "lun");
        grows(site, "lun");
        ends(site, "lun", "/storage/volumes");
    });
}

#[test]
fn a_lun_among_others_in_a_flexvol_does_the_same() {
    on_site(|site| {
        moves(site, "luns", "one-of-many");
        copies(site, "luns", "one-of-many");
        grows(site, "one-of-many");
        ends(site, "one-of-many", "/storage/luns");
    });
}

/// One host has it, the other is refused until it lets go, and finds what was written.
fn moves(site: &ArraySite, backend: &str, volume: &str) {
    let [one, two] = site.hosts.each_ref();
    one.create(volume, &format!("-o backend={backend}")).ok("create");
    one.hold(volume).ok("mount");
    one.within(volume, "echo kept >/data/file && sync /data/file").ok("write");
    let paths = one.guest().exec("multipath -ll 2>/dev/null | grep -c 'active ready'").ok("paths");
    assert_eq!(paths, "2", "a path by each interface");
    let refused = two.shell(volume, "ls /data");
    assert!(!refused.is_ok() && refused.stderr.contains("node `node1`"), "{refused:?}");
    one.end(volume).ok("end");
    assert_eq!(two.shell(volume, "cat /data/file").ok("read on the second"), "kept");
}

fn copies(site: &ArraySite, backend: &str, volume: &str) {
    let [one, two] = site.hosts.each_ref();
    one.leister(&format!("snapshot {volume} before")).ok("snapshot");
    one.shell(volume, "echo after >/data/file").ok("write again");
    let name = format!("{volume}-copy");
    let options = format!("-o backend={backend} -o from={volume} -o fromSnapshot=before");
    one.create(&name, &options).ok("clone");
    // Both at once on one host: two file systems of one origin.
    one.hold(volume).ok("mount");
    assert_eq!(one.shell(&name, "cat /data/file").ok("read the clone"), "kept");
    assert_eq!(one.within(volume, "cat /data/file").ok("read the volume"), "after");
    one.end(volume).ok("end");
    one.docker(&format!("volume rm {name}")).ok("rm the clone");
    one.leister(&format!("restore {volume} before --yes")).ok("restore");
    assert_eq!(two.shell(volume, "cat /data/file").ok("read"), "kept");
    one.leister(&format!("delete snapshot {volume}/before --yes")).ok("delete the snapshot");
    assert_eq!(on_array(site, "/storage/luns", &name), Vec::<String>::new());
}

fn grows(site: &ArraySite, volume: &str) {
    let [one, _] = site.hosts.each_ref();
    one.hold(volume).ok("mount");
    let blocks = "df -k /data | tail -1 | tr -s \" \" | cut -d \" \" -f 2";
    let before: u64 = one.within(volume, blocks).ok("df").parse().unwrap();
    one.leister(&format!("grow {volume} 256MiB")).ok("grow");
    crate::wait("the file system has grown", || {
        one.within(volume, blocks).ok("df").parse::<u64>().unwrap() > 3 * before
    });
    one.end(volume).ok("end");
}
