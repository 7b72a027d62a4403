//! Several instances with the same records in a real etcd: who leads, who follows, and what survives what.
#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]
#![allow(clippy::print_stdout, reason = "a skip and a measurement are printed")]

mod cluster;
mod host;
#[path = "../cli/pools.rs"]
mod pools;
mod refusals;
mod roles;
#[path = "../cli/undo.rs"]
mod undo;

use std::time::{Duration, Instant};

use cluster::Cluster;
use host::{Host, Site, leader, three, until};
use pools::may_make_pools;
use serde_json::json;

fn others(hosts: &[Host], leader: usize) -> impl Iterator<Item = &Host> {
    hosts.iter().enumerate().filter(move |(n, _)| *n != leader).map(|(_, host)| host)
}

#[test]
fn a_follower_serves_its_users_as_the_leader_does() {
    if !may_make_pools() {
        return;
    }
    let (cluster, site) = (Cluster::of(3), Site::new());
    let hosts = three(&cluster, &site);
    let leads = leader(&hosts);
    let follower = others(&hosts, leads).next().unwrap();
    assert_eq!(follower.ok(&["create", "volume", "v", "--size", "16MiB"]), "volume/v created\n");
    for host in &hosts {
        until("it is listed everywhere", || host.volumes() == ["volume/v"]);
    }
    // What is answered is shown at once where it was asked for.
    assert_eq!(follower.ok(&["grow", "v", "32MiB"]), "volume/v has 32MiB\n");
    assert!(follower.ok(&["get", "volume", "v"]).contains("32MiB"));
    assert_eq!(follower.ok(&["snapshot", "v", "s"]), "snapshot/v/s created\n");
    assert!(follower.ok(&["get", "backends"]).contains("online"));
    assert!(follower.ok(&["get", "pools"]).contains("shared"));
    assert!(follower.ok(&["version"]).contains(&format!("leader   {}", hosts[leads].name)));
    assert_eq!(follower.ok(&["get", "nodes", "-o", "name"]), "node/a\nnode/b\nnode/c\n");
    assert_eq!(follower.ok(&["create", "class", "gold", "--parameter", "media=hdd"]), "class/gold created\n");
    assert_eq!(hosts[leads].ok(&["get", "classes", "-o", "name"]), "class/gold\n");
    let refused = follower.cli(&["delete", "backend", "shared"]);
    assert_eq!((refused.code, refused.err.contains("has 1 volume")), (4, true), "{refused:?}");

    // Docker on the follower; to mount it there takes a pool that is not another machine's.
    follower.docker("VolumeDriver.Create", &json!({"Name": "d", "Opts": {"size": "16MiB"}}));
    let far = follower.refused("VolumeDriver.Mount", &json!({"Name": "d", "ID": "one"}));
    assert!(far.contains(&format!("the pool is local to node `{}`", hosts[leads].name)), "{far}");
    let place = hosts[leads].mount("d", "one");
    std::fs::write(place.join("file"), "kept").unwrap();
    let shown: serde_json::Value =
        serde_json::from_str(&follower.ok(&["get", "volume", "d", "-o", "json"])).unwrap();
    assert_eq!(shown["nodes"], json!([hosts[leads].name]));
    let got = follower.docker("VolumeDriver.Get", &json!({"Name": "d"}));
    assert_eq!(got["Volume"]["Status"]["size"], json!("16MiB"));
    assert_eq!(follower.docker("VolumeDriver.List", &json!({}))["Volumes"].as_array().unwrap().len(), 2);
    let used = follower.refused("VolumeDriver.Remove", &json!({"Name": "d"}));
    assert!(used.contains(&format!("in use on node `{}`", hosts[leads].name)), "{used}");
    hosts[leads].docker("VolumeDriver.Unmount", &json!({"Name": "d", "ID": "one"}));
    follower.docker("VolumeDriver.Remove", &json!({"Name": "d"}));
    assert_eq!(follower.volumes(), ["volume/v"]);
    follower.is_well();
    assert_eq!(follower.ok(&["delete", "volume", "v", "--snapshots"]), "volume/v deleted\n");
    for host in &hosts {
        until("it is gone everywhere", || host.volumes().is_empty());
        assert!(!host.log().contains(" ERROR "), "{}", host.log());
    }
    assert_eq!(site.volumes(), [""; 0]);
}

#[test]
fn what_is_asked_for_survives_the_leader_and_a_member_of_etcd() {
    const MANY: usize = 24;
    let (mut cluster, site) = (Cluster::of(3), Site::with_array());
    let mut hosts = three(&cluster, &site);
    let first = leader(&hosts);
    let survivors: Vec<usize> = (0..3).filter(|n| *n != first).collect();

    // The leader dies while volumes are made for both others.
    let killed = std::sync::Mutex::new(None);
    std::thread::scope(|scope| {
        let (dying, living): (Vec<_>, Vec<_>) = hosts.iter_mut().enumerate().partition(|(n, _)| *n == first);
        let living: Vec<&Host> = living.into_iter().map(|(_, host)| &*host).collect();
        let creates: Vec<_> = (0..MANY)
            .map(|n| {
                let host = living[n % 2];
                scope.spawn(move || host.cli(&["create", "volume", &format!("v{n:02}"), "--size", "32MiB"]))
            })
            .collect();
        until("some are made", || living[0].volumes().len() >= 2);
        for (_, host) in dying {
            host.kill();
        }
        let died = Instant::now();
        until("another one leads", || {
            let leader = living[0].leader();
            leader.is_some_and(|leader| living.iter().any(|host| host.name == leader))
        });
        *killed.lock().unwrap() = Some(died.elapsed());
        for create in creates {
            let said = create.join().unwrap();
            assert_eq!(said.code, 0, "{said:?}\n{}\n{}", living[0].log(), living[1].log());
        }
    });
    println!("takeover after kill -9: {:?}", killed.into_inner().unwrap().unwrap());
    for host in others(&hosts, first) {
        until("all are there", || host.volumes().len() == MANY);
    }
    assert_eq!(site.volumes().len(), MANY, "nothing is lost, nothing is there twice: {:?}", site.volumes());
    hosts[survivors[0]].is_well();

    // The dead one comes back with its name, and follows.
    hosts[first].start(&cluster.endpoints());
    assert_eq!(hosts[first].volumes().len(), MANY);
    let second = leader(&hosts);
    assert_ne!(second, first);

    // One member of etcd dies, while a follower cannot hear; what it missed is compacted away.
    let deaf = (0..3).find(|n| *n != second).unwrap();
    hosts[deaf].freeze(true);
    cluster.kill(0);
    for n in 0..MANY / 2 {
        let said = hosts[second].ok(&["delete", "volume", &format!("v{n:02}")]);
        assert!(said.contains("deleted"), "{said}");
    }
    let now = cluster.ctl(&["get", "nothing", "-w", "json"]);
    let now: serde_json::Value = serde_json::from_slice(&now.stdout).unwrap();
    let compacted = cluster.ctl(&["compact", &now["header"]["revision"].to_string()]);
    assert!(compacted.status.success(), "{compacted:?}");
    hosts[deaf].freeze(false);
    until("it has caught up", || hosts[deaf].volumes().len() == MANY - MANY / 2);
    let late = hosts[deaf].ok(&["create", "volume", "late", "--size", "32MiB"]);
    assert_eq!(late, "volume/late created\n");
    cluster.start_one(0);

    // An orderly end hands over at once.
    let leads = leader(&hosts);
    hosts[leads].stop();
    let took = until("another one leads", || leader_of(&hosts, leads).is_some());
    println!("takeover after an orderly end: {took:?}");
    assert_eq!(hosts[(leads + 1) % 3].ok(&["delete", "volume", "late"]), "volume/late deleted\n");
    assert_eq!(site.volumes().len(), MANY - MANY / 2);
}

/// The leader that the others name, if it is another one than this.
fn leader_of(hosts: &[Host], before: usize) -> Option<String> {
    hosts[(before + 1) % 3].leader().filter(|leader| *leader != hosts[before].name)
}

#[test]
fn who_has_lost_the_lease_changes_nothing_any_more() {
    let (cluster, site) = (Cluster::of(3), Site::with_array());
    let hosts = three(&cluster, &site);
    let first = leader(&hosts);
    hosts[first].ok(&["create", "volume", "before", "--size", "32MiB"]);

    // Stopped past its lease, with work on its way.
    hosts[first].freeze(true);
    let stuck = std::thread::scope(|scope| {
        let stuck = scope.spawn(|| hosts[first].cli(&["create", "volume", "stuck", "--size", "32MiB"]));
        let stopped = Instant::now();
        let other = others(&hosts, first).next().unwrap();
        until("another one leads", || other.leader().is_some_and(|leader| leader != hosts[first].name));
        println!("takeover after a stop: {:?}", stopped.elapsed());
        other.ok(&["create", "volume", "meanwhile", "--size", "32MiB"]);
        hosts[first].freeze(false);
        stuck.join().unwrap()
    });
    // It had another one do it.
    assert_eq!(stuck.code, 0, "{stuck:?}\n{}", hosts[first].log());
    until("it follows", || hosts[first].leader().is_some_and(|leader| leader != hosts[first].name));
    assert!(hosts[first].log().contains("this instance leads no more"), "{}", hosts[first].log());
    for host in &hosts {
        until("all show the same", || {
            host.volumes() == ["volume/before", "volume/meanwhile", "volume/stuck"]
        });
    }
    assert_eq!(site.volumes(), ["t_before", "t_meanwhile", "t_stuck"]);

    // Its lease is taken away under it: what it does next is refused by its number, not by a clock.
    let second = leader(&hosts);
    let taken = cluster.ctl(&["del", "/leister/leister/writer"]);
    assert!(taken.status.success(), "{taken:?}");
    let said = hosts[second].cli(&["create", "volume", "fenced", "--size", "32MiB"]);
    assert_eq!(said.code, 0, "{said:?}\n{}", hosts[second].log());
    assert!(hosts[second].log().contains("fencing number"), "{}", hosts[second].log());
    assert_eq!(site.volumes(), ["t_before", "t_fenced", "t_meanwhile", "t_stuck"]);
}

#[test]
fn without_etcd_records_are_shown_and_changes_are_refused_until_it_is_back() {
    if !may_make_pools() {
        return;
    }
    let (cluster, site) = (Cluster::of(3), Site::new());
    let hosts = three(&cluster, &site);
    let leads = leader(&hosts);
    hosts[leads].ok(&["create", "volume", "v", "--size", "8MiB"]);
    let follower = others(&hosts, leads).next().unwrap();
    until("it is listed", || follower.volumes() == ["volume/v"]);
    let user = &hosts[leads];
    let place = user.mount("v", "one");

    cluster.freeze(true);
    for host in [follower, &hosts[leads]] {
        until("it is said", || host.version()["trouble"].as_str().is_some());
        assert_eq!(host.volumes(), ["volume/v"]);
        assert!(host.ok(&["version"]).contains("trouble  the store does not answer since"));
        let started = Instant::now();
        let refused = host.cli(&["create", "volume", "w", "--size", "8MiB"]);
        assert_eq!(refused.code, 5, "{refused:?}");
        assert!(refused.err.contains("nothing can be changed now"), "{refused:?}");
        assert!(refused.err.contains("what is mounted goes on"), "{refused:?}");
        assert!(started.elapsed() < Duration::from_secs(60));
    }
    // What is mounted needs nobody; a second container on the same host neither.
    std::fs::write(place.join("file"), "kept").unwrap();
    let second = user.mount("v", "two");
    assert_eq!(std::fs::read_to_string(second.join("file")).unwrap(), "kept");

    cluster.freeze(false);
    leader(&hosts);
    for host in &hosts {
        until("it is well again", || host.version()["trouble"].is_null());
    }
    until("changes go again", || follower.cli(&["create", "volume", "x", "--size", "8MiB"]).code == 0);
    for id in ["one", "two"] {
        user.docker("VolumeDriver.Unmount", &json!({"Name": "v", "ID": id}));
    }
    follower.ok(&["delete", "volume", "x"]);
    assert!(!follower.volumes().contains(&"volume/x".to_owned()));
}
