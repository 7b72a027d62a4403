//! One volume, two hosts.

use site::{Host, Site, both, wait};

use crate::on_site;

#[test]
fn a_volume_made_on_one_host_is_listed_written_and_read_on_both_at_once_and_deleted_by_the_other() {
    on_site(|site| share(site, site.hosts.each_ref()));
}

#[test]
fn a_block_volume_is_refused_to_the_second_host_by_name_of_the_first_until_that_lets_go() {
    on_site(|site| refuse(site, site.hosts.each_ref()));
}

pub(crate) fn share(site: &Site, [one, two]: [&Host<'_>; 2]) {
    // An engine that was not told of its end does not list a name for another driver.
    let shared = &format!("shared-{}", one.driver());
    one.create(shared, "").ok("create");
    wait("it is listed on the other", || two.volumes().contains(shared));
    both([one, two], |host| host.hold(shared).ok("mount on both"));
    both([one, two], |host| {
        let own = host.name();
        host.within(shared, &format!("echo from {own} >/data/{own} && sync /data/{own}")).ok("write")
    });
    let seen = both([one, two], |host| host.within(shared, "cat /data/*").ok("read"));
    assert_eq!(seen, ["from node1\nfrom node2"; 2]);
    let refused = two.docker(&format!("volume rm {shared}"));
    assert!(!refused.is_ok() && refused.stderr.contains("in use"), "{refused:?}");
    both([one, two], |host| host.end(shared).ok("end"));
    two.docker(&format!("volume rm {shared}")).ok("rm");
    wait("it is gone from the other's list", || !one.volumes().contains(shared));
    assert!(!site.volumes(one).contains(shared), "{:?}", site.volumes(one));
}

pub(crate) fn refuse(site: &Site, [one, two]: [&Host<'_>; 2]) {
    one.create("block", "-o fileSystemType=ext4").ok("create");
    one.hold("block").ok("mount");
    one.within("block", "echo kept >/data/file && sync /data/file").ok("write");
    let refused = two.shell("block", "ls /data");
    assert!(!refused.is_ok(), "{refused:?}");
    let has = format!("in use on node `{}`", one.name());
    let way_out = format!("leister fence volume block --node {}", one.name());
    for part in ["volume `block`", &has, &way_out] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    let refused = two.docker("volume rm block");
    assert!(!refused.is_ok() && refused.stderr.contains(&format!("node `{}`", one.name())), "{refused:?}");
    one.end("block").ok("end");
    assert_eq!(two.shell("block", "cat /data/file").ok("read on the second"), "kept");
    two.docker("volume rm block").ok("rm");
    assert!(!site.volumes(one).contains("block"), "{:?}", site.volumes(one));
}
