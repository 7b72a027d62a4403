//! Hosts whose records are in one etcd of three members: one of them leads.

use site::{Host, LIMIT, Site, wait};

use crate::fences::{KINDS, outlive};
use crate::on_site;
use crate::races::race;
use crate::sharing::{refuse, share};

#[test]
fn a_host_that_follows_makes_and_mounts_what_it_shares_with_the_leader_or_has_alone() {
    on_site(|site| {
        let [leads, follows] = by_lead(site);
        share(site, [follows, leads]);
        refuse(site, [follows, leads]);
        refuse(site, [leads, follows]);
    });
}

#[test]
fn a_race_in_which_the_leader_and_a_member_of_etcd_die_makes_no_second_volume_and_leaks_none() {
    on_site(|site| {
        let [leads, follows] = by_lead(site);
        let members = &site.records().members;
        // What is told by the engine of the instance that is dead.
        race(site, [leads, follows], &["records.sock"], || {
            let dead = members.kill_leader();
            leads.node().kill();
            wait("the other one leads", || leader(follows).as_deref() == Some(follows.name()));
            leads.node().start().unwrap();
            members.start(dead).unwrap();
        });
        share(site, [leads, follows]);
    });
}

#[test]
fn a_leader_that_stood_still_while_it_was_fenced_leads_no_more_and_writes_no_more() {
    on_site(|site| {
        let [leads, follows] = by_lead(site);
        outlive(
            site,
            [follows, leads],
            KINDS,
            |host| {
                host.guest().stop().unwrap();
                wait("the other one leads", || leader(follows).as_deref() == Some(follows.name()));
            },
            |host| host.guest().cont().unwrap(),
        );
        assert_eq!(leader(leads).as_deref(), Some(follows.name()));
    });
}

#[test]
fn access_that_was_taken_from_a_node_behind_our_back_comes_back_and_what_others_were_given_stays() {
    on_site(|site| {
        let one = &site.records().hosts[0];
        one.create("open", "").ok("create");
        one.create("unit", "-o fileSystemType=ext4").ok("create");
        for volume in ["open", "unit"] {
            one.hold(volume).ok("mount");
            one.within(volume, "echo before >/data/file && sync /data/file").ok("write");
        }
        let stranger =
            r#"{"node":{"name":"stranger","addresses":["10.77.0.99"]},"readOnly":true,"exclusive":false}"#;
        ask(
            site,
            one,
            &format!("open/permits/stranger -X PUT -H content-type:application/json -d \'{stranger}\'"),
        );
        for volume in ["open", "unit"] {
            ask(site, one, &format!("{volume}/permits/node1 -X DELETE"));
        }
        let exports = "grep records.leister_open /var/lib/nfs/etab";
        let has = |node: &str| format!("{exports} | grep -q {node}");
        let maps = "ls /sys/kernel/config/target/iscsi/*/tpgt_1/acls/*node1/lun_*";
        let gone = format!("! ({}) && ! {maps}", has(&one.guest().address(0).to_string()));
        site.filer.exec(&gone).ok("the node cannot reach them");
        for volume in ["open", "unit"] {
            let write = format!("docker exec {volume} sh -c \'echo back >/data/file && sync /data/file\'");
            one.guest().wait_for(&write, LIMIT).ok("it writes again");
        }
        site.filer.exec(&has("10.77.0.99")).ok("what others were given stays");
        ask(site, one, "open/permits/stranger -X DELETE");
        for volume in ["open", "unit"] {
            one.end(volume).ok("end");
            one.docker(&format!("volume rm {volume}")).ok("rm");
        }
    });
}

/// Asks the filer by hand, as the instances of a host do.
fn ask(site: &Site, host: &Host<'_>, what: &str) {
    let trust = format!("/etc/{}/trust", host.driver());
    let script = format!(
        "curl -sS --fail-with-body -m 60 --cacert {trust}/ca.crt --cert {trust}/client.crt --key {trust}/client.key \
         {}/v1/volumes/leister_{what}",
        site.filer.url()
    );
    host.node().exec(&script).ok("ask the filer");
}

/// The host whose instance leads, and the other one.
fn by_lead(site: &Site) -> [&Host<'static>; 2] {
    let [one, two] = &site.records().hosts;
    let mut found = None;
    wait("both say who leads", || {
        let said = [one, two].map(leader);
        found.clone_from(&said[0]);
        said[0].is_some() && said[0] == said[1]
    });
    if found.as_deref() == Some(one.name()) { [one, two] } else { [two, one] }
}

/// Who leads, as the instance of a host knows it.
fn leader(host: &Host<'_>) -> Option<String> {
    let ask = format!(
        "curl -sSf -m 10 --unix-socket /run/leister/{}.sock http://leister/v1/version",
        host.driver()
    );
    let said = host.node().exec(&ask).ok("version");
    let (_, rest) = said.split_once(r#""leader":""#)?;
    Some(rest.split_once('"')?.0.to_owned())
}
