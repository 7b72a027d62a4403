//! What befalls an array while a container writes: nothing that was acknowledged is lost, and it goes on by itself.

use serde_json::json;
use site::{ArraySite, Host, wait};

use crate::files::end;
use crate::{on_array, on_site};

#[test]
fn a_writer_on_a_lun_goes_on_when_one_controller_fails_and_comes_back() {
    on_site(|site| {
        let host = &site.hosts[0];
        writes(host, "failover", "san");
        has_paths(host, 2);
        fail_over(site, "takeover");
        has_paths(host, 1);
        goes_on(host, "failover");
        fail_over(site, "giveback");
        has_paths(host, 2);
        goes_on(host, "failover");
        nothing_is_lost(site, "failover");
    });
}

#[test]
fn a_writer_on_a_flexvol_goes_on_when_its_interface_was_down_and_when_the_simulator_was_killed() {
    on_site(|site| {
        let host = &site.hosts[0];
        writes(host, "interface", "nas");
        switch_nas(site, false);
        let silent = format!("! ping -c 1 -W 1 {}", site.array.data_address(0));
        host.guest().wait_for(&silent, site::LIMIT).ok("the interface is down");
        let stands = host.acknowledged("interface");
        switch_nas(site, true);
        wait("it goes on", || host.acknowledged("interface") > stands + 2);
        site.array.kill();
        goes_on(host, "interface");
        site.array.start().unwrap();
        goes_on(host, "interface");
        nothing_is_lost(site, "interface");
    });
}

#[test]
fn writers_go_on_when_the_simulator_was_killed_while_it_kept_clients_out() {
    on_site(|site| {
        let (host, array) = (&site.hosts[0], &site.array);
        let volumes = ["books", "journal"];
        volumes.iter().for_each(|volume| writes(host, volume, "nas"));
        let members = volumes.iter().flat_map(|volume| on_array(site, "/storage/volumes", volume));
        let members = members.map(|name| json!({"name": name, "provisioning_options": {"action": "add"}}));
        let group =
            json!({"name": "ledger", "svm": {"name": "svm1"}, "volumes": members.collect::<Vec<_>>()});
        let groups = "/application/consistency-groups";
        array.ask("POST", groups, Some(&group)).unwrap();
        let uuid = &array.ask("GET", &format!("{groups}?name=ledger"), None).unwrap()["records"][0]["uuid"];
        let group = format!("{groups}/{}", uuid.as_str().unwrap());
        let snapshots = format!("{group}/snapshots");
        let take = |name: &str| array.ask("POST", &snapshots, Some(&json!({ "name": name })));

        let shut = "tc qdisc show | grep -q ingress";
        std::thread::scope(|scope| {
            let dies = scope.spawn(move || {
                array.exec(&format!("until {shut}; do :; done; kill -9 $(cat /run/array.pid)")).ok("kill")
            });
            // Whoever looks may miss the moment.
            for n in 0.. {
                if dies.is_finished() {
                    break;
                }
                if let Err(error) = take(&format!("cut{n}")) {
                    println!("{error:#}");
                }
            }
            dies.join().unwrap();
        });
        array.exec(shut).ok("clients are kept out, and nobody is there to let them in");
        array.start().unwrap();
        assert!(!array.exec(shut).is_ok(), "clients are still kept out");
        volumes.iter().for_each(|volume| goes_on(host, volume));
        take("whole").unwrap();
        array.ask("DELETE", &group, None).unwrap();
        volumes.iter().for_each(|volume| nothing_is_lost(site, volume));
    });
}

fn writes(host: &Host<'_>, volume: &str, backend: &str) {
    host.create(volume, &format!("-o backend={backend}")).ok("create");
    host.write(volume).ok("write");
    goes_on(host, volume);
}

/// Three more numbers, each durable.
fn goes_on(host: &Host<'_>, volume: &str) {
    let so_far = host.acknowledged(volume);
    wait("the writer goes on", || host.acknowledged(volume) > so_far + 3);
    assert!(!host.failed(volume), "the writer was refused");
}

fn has_paths(host: &Host<'_>, count: usize) {
    let paths = format!("[ $(multipath -ll 2>/dev/null | grep -c 'active ready') = {count} ]");
    host.guest().wait_for(&paths, site::LIMIT).ok("paths");
}

fn fail_over(site: &ArraySite, what: &str) {
    let path = format!("/private/cli/storage/failover/{what}");
    site.array.ask("POST", &path, Some(&json!({"ofnode": "cluster1-01"}))).unwrap();
}

/// The interface that nodes mount from.
fn switch_nas(site: &ArraySite, enabled: bool) {
    let interfaces = "/network/ip/interfaces?name=nas1";
    site.array.ask("PATCH", interfaces, Some(&json!({"enabled": enabled}))).unwrap();
}

/// All numbers up to the acknowledged one, in their order; then the volume goes.
fn nothing_is_lost(site: &ArraySite, volume: &str) {
    let [one, two] = site.hosts.each_ref();
    let acknowledged = one.acknowledged(volume);
    one.end(volume).ok("end");
    let kept = two.shell(volume, "cat /data/log").ok("read on the second");
    let numbers: Vec<u64> = kept.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.len() as u64 >= acknowledged, "{acknowledged} acknowledged, {} kept", numbers.len());
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "out of order: {kept}");
    end(site, volume, "/storage/volumes");
}
