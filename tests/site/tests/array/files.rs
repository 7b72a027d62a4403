//! FlexVols, FlexGroups and qtrees: files that both hosts see at once.

use site::{ArraySite, Host};

use crate::{both, on_array, on_site, wait};

#[test]
fn a_flexvol_is_written_and_read_by_two_hosts_cloned_restored_grown_while_mounted_and_deleted() {
    on_site(|site| {
        share(site, "nas", "flexvol", "64MiB");
        copies(site, "nas", "flexvol", "64MiB");
        grows(site, "flexvol", "64MiB");
        ends(site, "flexvol", "/storage/volumes");
    });
}

#[test]
fn a_flexgroup_is_written_and_read_by_two_hosts_cloned_and_restored() {
    on_site(|site| {
        share(site, "group", "flexgroup", "1GiB");
        copies(site, "group", "flexgroup", "1GiB");
        ends(site, "flexgroup", "/storage/volumes");
    });
}

#[test]
fn a_qtree_is_written_and_read_by_two_hosts_and_grown_while_mounted() {
    on_site(|site| {
        share(site, "qtrees", "qtree", "64MiB");
        grows(site, "qtree", "64MiB");
        ends(site, "qtree", "/storage/qtrees");
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
        both(hosts, |host| host.shell("raced", "echo $(hostname) >>/data/log").ok("write"));
        assert_eq!(hosts[0].shell("raced", "wc -l </data/log").ok("read"), "2");
        ends(site, "raced", "/storage/volumes");
    });
}

/// Each host writes, and reads what the other wrote.
fn share(site: &ArraySite, backend: &str, volume: &str, size: &str) {
    let [one, two] = site.hosts.each_ref();
    one.docker(&format!("volume create -d leister -o backend={backend} -o size={size} {volume}"))
        .ok("create");
    wait("it is listed on the other", || two.volumes().contains(volume));
    both([one, two], |host| host.hold(volume).ok("mount on both"));
    both([one, two], |host| {
        let own = host.name();
        host.within(volume, &format!("echo from {own} >/data/{own} && sync /data/{own}")).ok("write")
    });
    for host in [one, two] {
        // A client may go on for a moment with what it knew of the directory.
        wait("it sees what both wrote", || {
            host.within(volume, "cat /data/node1 /data/node2").stdout.trim() == "from node1\nfrom node2"
        });
    }
    let refused = two.docker(&format!("volume rm {volume}"));
    assert!(!refused.is_ok() && refused.stderr.contains("in use"), "{refused:?}");
    both([one, two], |host| host.end(volume).ok("end"));
}

/// A snapshot, a clone of it, a clone of what is there now, and the restore.
fn copies(site: &ArraySite, backend: &str, volume: &str, size: &str) {
    let [one, two] = site.hosts.each_ref();
    one.leister(&format!("snapshot {volume} before")).ok("snapshot");
    one.shell(volume, "echo after >/data/node1").ok("write again");
    for (copy, snapshot, holds) in [("then", "-o fromSnapshot=before", "from node1"), ("now", "", "after")] {
        let name = format!("{volume}-{copy}");
        let options = format!("-o backend={backend} -o size={size} -o from={volume} {snapshot}");
        one.docker(&format!("volume create -d leister {options} {name}")).ok("clone");
        assert_eq!(one.shell(&name, "cat /data/node1").ok("read the clone"), holds);
        one.shell(&name, "echo own >/data/node1").ok("write to the clone");
        one.docker(&format!("volume rm {name}")).ok("rm the clone");
    }
    // The array takes a snapshot for the clone of what is there now; it goes when nobody needs it.
    one.leister(&format!("restore {volume} before --yes")).ok("restore");
    assert_eq!(two.shell(volume, "cat /data/node1").ok("read"), "from node1");
    one.leister(&format!("delete snapshot {volume}/before --yes")).ok("delete the snapshot");
}

/// What is too much for a volume fits when it has grown, also under a container.
fn grows(site: &ArraySite, volume: &str, size: &str) {
    let [one, _] = site.hosts.each_ref();
    one.hold(volume).ok("mount");
    let fill = "rm -f /data/big; dd if=/dev/zero of=/data/big bs=1M count=100 conv=fsync";
    let refused = one.within(volume, fill);
    assert!(
        !refused.is_ok() && refused.stderr.to_lowercase().contains("quota"),
        "more than {size}: {refused:?}"
    );
    one.leister(&format!("grow {volume} 256MiB")).ok("grow");
    one.within(volume, fill).ok("it has grown");
    one.end(volume).ok("end");
}

pub(crate) fn ends(site: &ArraySite, volume: &str, collection: &str) {
    let [one, two]: [&Host<'_>; 2] = site.hosts.each_ref();
    two.docker(&format!("volume rm {volume}")).ok("rm");
    wait("it is gone from the other's list", || !one.volumes().contains(volume));
    assert_eq!(on_array(site, collection, volume), Vec::<String>::new());
}
