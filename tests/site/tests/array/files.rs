//! FlexVols, FlexGroups and qtrees: files that both hosts see at once.

use site::{ArraySite, both, wait};

use crate::{on_array, on_site};

#[test]
fn a_flexvol_is_shared_by_two_hosts_grown_while_mounted_cloned_restored_and_deleted() {
    on_site(|site| {
        share(site, "nas", "flexvol", "64MiB");
        grow(site, "flexvol");
        copy(site, "flexvol", "backend=nas -o size=256MiB");
        end(site, "flexvol", "/storage/volumes");
    });
}

#[test]
fn a_flexgroup_is_shared_by_two_hosts_cloned_restored_and_deleted() {
    on_site(|site| {
        share(site, "group", "flexgroup", "1GiB");
        copy(site, "flexgroup", "backend=group -o size=1GiB");
        end(site, "flexgroup", "/storage/volumes");
    });
}

#[test]
fn a_qtree_is_shared_by_two_hosts_grown_while_mounted_and_deleted() {
    on_site(|site| {
        share(site, "qtrees", "qtree", "64MiB");
        grow(site, "qtree");
        let [one, two] = site.hosts.each_ref();
        both([one, two], |host| host.end("qtree").ok("end"));
        end(site, "qtree", "/storage/qtrees");
    });
}

#[test]
fn two_hosts_that_create_one_volume_at_the_same_moment_make_one() {
    on_site(|site| {
        let hosts = site.hosts.each_ref();
        let made = both(hosts, |host| host.create("raced", "-o backend=nas"));
        assert!(made.iter().any(rig::Output::is_ok), "{made:?}");
        for host in hosts {
            wait("it is listed", || host.volumes().contains("raced"));
        }
        assert_eq!(on_array(site, "/storage/volumes", "raced").len(), 1);
        end(site, "raced", "/storage/volumes");
    });
}

/// Each host writes, and reads what the other wrote; both go on to use it.
fn share(site: &ArraySite, backend: &str, volume: &str, size: &str) {
    let [one, two] = site.hosts.each_ref();
    one.docker(&format!("volume create -d leister -o backend={backend} -o size={size} {volume}"))
        .ok("create");
    both([one, two], |host| host.hold(volume).ok("mount on both"));
    both([one, two], |host| {
        let own = host.name();
        host.within(volume, &format!("echo from {own} >/data/{own} && sync /data/{own}")).ok("write")
    });
    for host in [one, two] {
        // A client may go on for a moment with what it knew of the directory.
        wait("it sees what both wrote", || {
            let seen = host.within(volume, "cat /data/node1 /data/node2");
            seen.stdout.trim() == "from node1\nfrom node2"
        });
    }
    let refused = two.docker(&format!("volume rm {volume}"));
    assert!(!refused.is_ok() && refused.stderr.contains("in use"), "{refused:?}");
}

/// What is too much for a volume fits when it has grown under its containers.
fn grow(site: &ArraySite, volume: &str) {
    let [one, _] = site.hosts.each_ref();
    let fill = "rm -f /data/big; dd if=/dev/zero of=/data/big bs=1M count=100 conv=fsync";
    let refused = one.within(volume, fill);
    assert!(!refused.is_ok() && refused.stderr.to_lowercase().contains("quota"), "{refused:?}");
    one.leister(&format!("grow {volume} 256MiB")).ok("grow");
    one.within(volume, fill).ok("it has grown");
    one.within(volume, "rm /data/big").ok("make room");
}

/// A snapshot while both use it, a clone of that, and the restore when nobody does.
fn copy(site: &ArraySite, volume: &str, options: &str) {
    let [one, two] = site.hosts.each_ref();
    one.leister(&format!("snapshot {volume} before")).ok("snapshot");
    one.within(volume, "echo after >/data/node1 && sync /data/node1").ok("write again");
    let clone = format!("{volume}-clone");
    let source = format!("-o from={volume} -o fromSnapshot=before");
    one.docker(&format!("volume create -d leister -o {options} {source} {clone}")).ok("clone");
    let both_of = "cat /data/node1; echo own >/data/node1";
    assert_eq!(one.shell(&clone, both_of).ok("read and write the clone"), "from node1");
    one.docker(&format!("volume rm {clone}")).ok("rm the clone");
    assert_eq!(one.within(volume, "cat /data/node1").ok("read the volume"), "after");
    both([one, two], |host| host.end(volume).ok("end"));
    one.leister(&format!("restore {volume} before --yes")).ok("restore");
    assert_eq!(two.shell(volume, "cat /data/node1").ok("read"), "from node1");
    one.leister(&format!("delete snapshot {volume}/before --yes")).ok("delete the snapshot");
}

/// It is deleted, by the host that did not make it, and nothing of it is left on the array.
pub(crate) fn end(site: &ArraySite, volume: &str, collection: &str) {
    let [one, two] = site.hosts.each_ref();
    two.docker(&format!("volume rm {volume}")).ok("rm");
    wait("it is gone from the other's list", || !one.volumes().contains(volume));
    // As its name is on the array.
    let own = volume.replace('-', "_");
    assert_eq!(on_array(site, collection, &own), Vec::<String>::new());
}
