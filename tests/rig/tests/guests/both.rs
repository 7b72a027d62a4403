//! What a guest can do, on each backend.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use rig::{Backend, Output, Rig, services};

use crate::{LIMIT, shared};

/// Each check as two tests, which the harness can run at the same time.
macro_rules! on_both {
    ($($check:ident)+) => {
        $(mod $check {
            #[test]
            fn tcg() {
                crate::shared::on(rig::Backend::Tcg, super::$check);
            }
            #[test]
            fn uml() {
                crate::shared::on(rig::Backend::Uml, super::$check);
            }
        })+
    };
}

on_both! {
    a_command_says_what_it_wrote_and_its_code
    a_command_that_takes_too_long_is_killed_with_what_it_started
    what_a_command_wrote_is_there_though_a_daemon_it_left_runs_on
    commands_run_side_by_side
    commands_that_begin_at_once_are_all_run
    files_go_both_ways
    every_guest_is_somebody_else
    a_cut_link_lets_nothing_pass_until_it_is_joined
    this_machine_is_on_the_networks_by_namespace_only
    a_killed_guest_starts_again_with_its_disks_and_nothing_else
    a_command_on_a_guest_that_dies_says_so
    a_stopped_guest_does_nothing_until_it_goes_on
    a_node_mounts_nfs_from_a_guest_that_serves_it
    a_node_has_iscsi_and_multipath_ready
}

#[test]
fn an_unplugged_link_has_no_carrier_until_it_is_plugged_in() {
    shared::on(Backend::Tcg, |rig| {
        let node = rig.guest("node1");
        let carrier = |link: u8| node.exec(&format!("cat /sys/class/net/eth{link}/carrier")).ok("carrier");
        for link in rig::LINKS {
            assert_eq!(carrier(link), "1");
            node.unplug(link).unwrap();
            node.wait_for(&format!("[ $(cat /sys/class/net/eth{link}/carrier) = 0 ]"), LIMIT)
                .ok("carrier lost");
            assert_eq!(carrier(1 - link), "1", "the other link is not touched");
            node.plug(link).unwrap();
            node.wait_for(&reaches("storage", link), LIMIT).ok("plugged in again");
        }
    });
}

#[test]
fn user_mode_linux_says_that_it_has_no_carrier_and_what_to_use() {
    shared::on(Backend::Uml, |rig| {
        let error = rig.guest("node1").unplug(0).unwrap_err().to_string();
        assert!(error.contains("cut") && error.contains("tcg"), "{error}");
        let error = rig.guest("node1").cut(2).unwrap_err().to_string();
        assert!(error.contains("no link 2"), "{error}");
        let error = rig.find_guest("node7").unwrap_err().to_string();
        assert!(error.contains("storage, node1"), "{error}");
    });
}

fn a_command_says_what_it_wrote_and_its_code(rig: &Rig) {
    let node = rig.guest("node1");
    let output = node.exec("echo out; echo err >&2; exit 7");
    assert_eq!(output, Output { code: 7, stdout: "out\n".into(), stderr: "err\n".into() });
    assert_eq!(node.exec("set -e; false; echo no").code, 1);
    let failed =
        std::panic::catch_unwind(|| rig.guest("node1").exec("echo seen; exit 3").ok("a step")).unwrap_err();
    let said = failed.downcast_ref::<String>().unwrap();
    assert!(said.contains("a step: code 3") && said.contains("seen"), "{said}");
}

fn a_command_that_takes_too_long_is_killed_with_what_it_started(rig: &Rig) {
    let node = rig.guest("node1");
    let begun = Instant::now();
    let output = node.exec_within(Duration::from_secs(2), "echo begun; sleep 4321 & sleep 4321");
    assert!(output.code == Output::TIMED_OUT && begun.elapsed() < LIMIT, "{output:?}");
    for word in ["sleep 4321", "nanosleep"] {
        assert!(output.stderr.contains(word), "where it was: {output:?}");
    }
    assert!(output.stderr.contains("more than 2 s"), "{output:?}");
    node.wait_for("! pgrep -f 'sleep 4321'", LIMIT).ok("all that it started has ended");
}

fn what_a_command_wrote_is_there_though_a_daemon_it_left_runs_on(rig: &Rig) {
    let node = rig.guest("node1");
    for round in 0..5 {
        let output = node.exec(&format!("setsid sleep 1234 & echo round {round}"));
        assert_eq!(output.ok("a daemon is left"), format!("round {round}"));
    }
    node.exec("pkill -f 'sleep 1234'").ok("the daemons lived");
}

fn commands_run_side_by_side(rig: &Rig) {
    let node = rig.guest("node1");
    let waits = node.spawn("until [ -e /tmp/go ]; do /run/bb/sleep 0.05; done; echo went").unwrap();
    assert!(waits.is_running());
    node.exec("touch /tmp/go").ok("another command runs meanwhile");
    assert_eq!(waits.wait(LIMIT).ok("the first ends"), "went");
}

fn commands_that_begin_at_once_are_all_run(rig: &Rig) {
    let node = rig.guest("node1");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..10).for_each(|_| drop(node.exec("true").ok("one of many"))));
        }
    });
}

fn files_go_both_ways(rig: &Rig) {
    let node = rig.guest("node1");
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    node.put("/srv/a new folder/it's a file", &bytes).unwrap();
    assert_eq!(node.read("/srv/a new folder/it's a file").unwrap(), bytes);
    assert!(!std::path::Path::new("/srv/a new folder").exists(), "a guest writes on its own files only");
    std::fs::write(node.share().join("hello"), "from outside").unwrap();
    assert_eq!(node.exec("cat /rig/hello").ok("the shared folder"), "from outside");
    let error = node.read("/no/such/file").unwrap_err().to_string();
    assert!(error.contains("/no/such/file in node1"), "{error}");
}

fn every_guest_is_somebody_else(rig: &Rig) {
    let show = "hostname; cat /etc/machine-id /etc/nvme/hostnqn /etc/nvme/hostid; cat /etc/iscsi/initiatorname.iscsi";
    let who: Vec<_> = ["storage", "node1"].map(|name| rig.guest(name).exec(show).ok("who are you")).into();
    for (storage, node) in who[0].lines().zip(who[1].lines()) {
        assert_ne!(storage, node);
    }
    assert!(who[1].starts_with("node1\n") && who[1].lines().count() == 5, "{}", who[1]);
    let ready =
        "mountpoint -q /sys/kernel/config && grep -q cgroup2 /proc/mounts && pidof systemd-udevd && id -u";
    rig.guest("node1").exec(ready).ok("configfs, cgroups, udevd, root");
}

/// Whether a guest answers on a link, as a condition for a shell.
fn reaches(name: &str, link: u8) -> String {
    format!("ping -q -c 1 -W 10 -I eth{link} {name}-{link} >/dev/null")
}

fn misses(name: &str, link: u8) -> String {
    format!("! ping -q -c 1 -W 1 -I eth{link} {name}-{link} >/dev/null")
}

fn a_cut_link_lets_nothing_pass_until_it_is_joined(rig: &Rig) {
    let (storage, node) = (rig.guest("storage"), rig.guest("node1"));
    for link in rig::LINKS {
        node.exec(&reaches("storage", link)).ok("before");
        storage.cut(link).unwrap();
        node.exec(&misses("storage", link)).ok("cut");
        node.exec(&reaches("storage", 1 - link)).ok("the other link is not touched");
        assert_eq!(storage.exec(&format!("cat /sys/class/net/eth{link}/carrier")).ok("carrier"), "1");
        storage.join(link).unwrap();
        node.wait_for(&reaches("storage", link), LIMIT).ok("joined");
        let six = storage.address6(link);
        node.wait_for(&format!("ping -q -c 1 -W 10 {six}"), LIMIT).ok("IPv6");
    }
}

fn this_machine_is_on_the_networks_by_namespace_only(rig: &Rig) {
    let node = rig.guest("node1");
    for link in rig::LINKS {
        rig.host(&format!("ping -q -c 1 -W 10 {}", node.address(link))).ok("from this machine");
        let listener = rig.in_namespace(|| TcpListener::bind((rig.address(link), 0))).unwrap().unwrap();
        let SocketAddr::V4(at) = listener.local_addr().unwrap() else { panic!("IPv4 was asked for") };
        let call = node.spawn(&format!("exec 5<>/dev/tcp/{}/{}", at.ip(), at.port())).unwrap();
        let (_, caller) = listener.accept().unwrap();
        assert_eq!(caller.ip(), node.address(link));
        call.wait(LIMIT).ok("the guest calls this machine");
    }
    // Outside there is no such network.
    let bound = TcpListener::bind((rig.address(0), 0));
    assert!(bound.is_err(), "{bound:?}");
    let mut sleeper = rig.spawn_in_namespace(Command::new("sleep").arg("1000")).unwrap();
    assert!(sleeper.try_wait().unwrap().is_none());
}

fn a_killed_guest_starts_again_with_its_disks_and_nothing_else(rig: &Rig) {
    let storage = rig.guest("storage");
    let disk = "d=$(ls /dev/vda /dev/ubda 2>/dev/null)";
    storage
        .exec(&format!("{disk}; echo on disk | dd of=$d conv=fsync,notrunc status=none; touch /root/mark"))
        .ok("write");
    storage.cut(1).unwrap();
    storage.kill().unwrap();
    assert!(!storage.is_up());
    rig.guest("node1").exec(&misses("storage", 0)).ok("it is down");
    storage.start().unwrap();
    assert_eq!(storage.exec(&format!("{disk}; head -n 1 $d")).ok("read"), "on disk");
    storage.exec("[ ! -e /root/mark ]").ok("its other files are new");
    rig.guest("node1").exec(&misses("storage", 1)).ok("what was cut stays cut");
    storage.join(1).unwrap();
    for link in rig::LINKS {
        rig.guest("node1").wait_for(&reaches("storage", link), LIMIT).ok("it is back");
    }
    let error = storage.start().unwrap_err().to_string();
    assert!(error.contains("storage runs already"), "{error}");
}

fn a_command_on_a_guest_that_dies_says_so(rig: &Rig) {
    let node = rig.guest("node1");
    let job = node.spawn("echo begun; sleep 1000").unwrap();
    node.kill().unwrap();
    let output = job.wait(LIMIT);
    assert!(output.code == Output::NOT_RUN && output.stderr.contains("died"), "{output:?}");
    let output = node.exec("true");
    assert!(output.code == Output::NOT_RUN && output.stderr.contains("start it first"), "{output:?}");
    node.start().unwrap();
    node.exec("true").ok("it is back");
}

fn a_stopped_guest_does_nothing_until_it_goes_on(rig: &Rig) {
    let (storage, node) = (rig.guest("storage"), rig.guest("node1"));
    node.exec(&reaches("storage", 0)).ok("before");
    storage.stop().unwrap();
    assert!(storage.is_stopped() && storage.is_up());
    node.exec(&misses("storage", 0)).ok("it is stopped");
    let job = storage.spawn("echo went on").unwrap();
    assert!(job.is_running());
    storage.cont().unwrap();
    assert_eq!(job.wait(LIMIT).ok("it does what it was told meanwhile"), "went on");
    node.wait_for(&reaches("storage", 0), LIMIT).ok("it answers again");
}

fn a_node_mounts_nfs_from_a_guest_that_serves_it(rig: &Rig) {
    let (storage, node) = (rig.guest("storage"), rig.guest("node1"));
    storage
        .exec("mountpoint -q /srv || { mount -t tmpfs pool /srv && mkdir /srv/v && chmod 777 /srv/v; }")
        .ok("a pool");
    services::nfs_server(storage, "/srv").ok("server");
    services::nfs_client(node).ok("client");
    storage.exec("exportfs -o rw,no_root_squash,fsid=1 10.77.0.0/16:/srv/v").ok("export");
    for version in ["3", "4.2"] {
        let mount = format!(
            "mkdir -p /m && mount -t nfs -o vers={version} storage:/srv/v /m && echo {version} >/m/f && umount /m"
        );
        node.exec_within(LIMIT, &mount).ok("mount and write");
        assert_eq!(storage.exec("cat /srv/v/f").ok("written"), version);
    }
}

fn a_node_has_iscsi_and_multipath_ready(rig: &Rig) {
    let node = rig.guest("node1");
    let configuration = "defaults {\n find_multipaths no\n polling_interval 2\n}\n";
    services::block_client(node, configuration).ok("services");
    node.exec("iscsiadm -m session 2>&1 | grep -q 'No active sessions'").ok("iscsid");
    let shown = node.exec("multipathd show config local").ok("multipathd");
    assert!(shown.contains("find_multipaths \"off\"") && shown.contains("polling_interval 2"), "{shown}");
    if rig.backend() == Backend::Tcg {
        node.exec("nvme --version && [ -e /dev/nvme-fabrics ]").ok("NVMe over TCP");
    }
}
