//! One volume, two hosts.

use crate::{both, on_site};

#[test]
fn a_volume_made_on_one_host_is_listed_written_and_read_on_both_at_once_and_deleted_by_the_other() {
    on_site(|site| {
        let [one, two] = &site.hosts;
        one.docker("volume create -d leister -o size=64MiB shared").ok("create");
        assert!(two.volumes().contains("shared"), "{:?}", two.volumes());
        both([one, two], |host| host.hold("shared").ok("mount on both"));
        both([one, two], |host| {
            let own = host.name();
            host.within("shared", &format!("echo from {own} >/data/{own} && sync /data/{own}")).ok("write")
        });
        let seen = both([one, two], |host| host.within("shared", "cat /data/*").ok("read"));
        assert_eq!(seen, ["from node1\nfrom node2"; 2]);
        let refused = two.docker("volume rm shared");
        assert!(!refused.is_ok() && refused.stderr.contains("in use"), "{refused:?}");
        both([one, two], |host| host.end("shared").ok("end"));
        two.docker("volume rm shared").ok("rm");
        assert!(!one.volumes().contains("shared"), "{:?}", one.volumes());
        assert!(!site.volumes().contains("shared"), "{:?}", site.volumes());
    });
}

#[test]
fn a_block_volume_is_refused_to_the_second_host_by_name_of_the_first_until_that_lets_go() {
    on_site(|site| {
        let [one, two] = &site.hosts;
        one.docker("volume create -d leister -o size=64MiB -o fileSystemType=ext4 block").ok("create");
        one.hold("block").ok("mount");
        one.within("block", "echo kept >/data/file && sync /data/file").ok("write");
        let refused = two.shell("block", "ls /data");
        assert!(!refused.is_ok(), "{refused:?}");
        for part in ["volume `block`", "in use on node `node1`", "leister fence volume block --node node1"] {
            assert!(refused.stderr.contains(part), "{}", refused.stderr);
        }
        let refused = two.docker("volume rm block");
        assert!(!refused.is_ok() && refused.stderr.contains("node `node1`"), "{refused:?}");
        one.end("block").ok("end");
        assert_eq!(two.shell("block", "cat /data/file").ok("read on the second"), "kept");
        two.docker("volume rm block").ok("rm");
        assert!(!site.volumes().contains("block"), "{:?}", site.volumes());
    });
}
