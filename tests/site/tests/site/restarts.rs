//! What goes on while parts are missing, and what comes back.

use site::{Host, Site, wait};

use crate::sharing::share;
use crate::{nothing_is_left, on_site};

const VOLUMES: [(&str, &str); 2] = [("steady", "-o fileSystemType=ext4"), ("flow", "")];

#[test]
fn an_instance_and_an_engine_that_are_killed_disturb_nobody_and_know_everything_when_they_are_back() {
    on_site(|site| {
        let [one, two] = &site.hosts;
        for (volume, options) in VOLUMES {
            one.create(volume, options).ok("create");
            one.write(volume).ok("a writer");
        }
        one.node().kill();
        goes_on(site, one, two);
        one.node().start().unwrap();
        has_both(one);
        one.kill_engine();
        goes_on(site, one, two);
        // An engine that comes back ends its containers and tells no plugin: the volumes are theirs until they have run again.
        one.start_engine();
        let refused = two.shell("steady", "true");
        assert!(!refused.is_ok() && refused.stderr.contains("in use on node `node1`"), "{refused:?}");
        let acknowledged = VOLUMES.map(|(volume, _)| one.acknowledged(volume));
        for (volume, _) in VOLUMES {
            one.docker(&format!("start {volume}")).ok("start");
            one.end(volume).ok("end");
        }
        nothing_is_left(one);
        for ((volume, _), acknowledged) in VOLUMES.iter().zip(acknowledged) {
            let found = two.shell(volume, "wc -l </data/log").ok("on the other host");
            assert!(found.parse::<u64>().unwrap() >= acknowledged, "{volume}: {acknowledged}: {found}");
        }
        share(site, [one, two]);
        for (volume, _) in VOLUMES {
            two.docker(&format!("volume rm {volume}")).ok("rm");
        }
        assert!(site.volumes(one).is_empty(), "{:?}", site.volumes(one));
    });
}

/// One host's containers write on, and the other host does all it can.
fn goes_on(site: &Site, one: &Host<'_>, two: &Host<'_>) {
    let before = VOLUMES.map(|(volume, _)| one.acknowledged(volume));
    two.create("meanwhile", "").ok("create");
    assert_eq!(two.shell("meanwhile", "echo here >/data/file && cat /data/file").ok("use"), "here");
    let refused = two.shell("steady", "true");
    assert!(!refused.is_ok() && refused.stderr.contains("in use on node `node1`"), "{refused:?}");
    two.docker("volume rm meanwhile").ok("rm");
    assert_eq!(site.volumes(one).len(), VOLUMES.len(), "{:?}", site.volumes(one));
    for ((volume, _), before) in VOLUMES.iter().zip(before) {
        wait(&format!("{volume} is written to"), || one.acknowledged(volume) > before + 5);
        assert!(!one.failed(volume));
    }
}

/// What its containers use is its own, as before.
fn has_both(one: &Host<'_>) {
    let shown = one.leister("get volumes steady flow -o json").ok("get volumes");
    assert_eq!(shown.matches("\"node1\"").count(), 2, "{shown}");
    let findings = one.leister("doctor");
    assert!(findings.is_ok(), "{findings:?}");
    for (volume, _) in VOLUMES {
        one.within(volume, "tail -n 1 /data/log").ok("its container sees it");
    }
}
