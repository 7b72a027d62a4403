//! What mends itself, and what is only told of because somebody needs it.

use std::time::Duration;

use wires::{Attach, Deed, Order};

use rig::Guest;

use crate::chap::{CHAP, guarded};
use crate::hands::{done, give, mount, obey, order};
use crate::iscsi::{OPEN, bring, refused, serve, take_away, unit, wanted};
use crate::{LIMIT, on_rig};

const TWO_PATHS: &str = "[ $(ls /sys/block/dm-*/slaves | grep -c sd) = 2 ]";

/// Heals with little patience until this is said.
pub(crate) fn heal(node: &Guest, until: &str) -> String {
    let heal = Deed::Heal { until: until.to_owned(), millis: 90_000 };
    let said = done(give(node, &Order { patience: Some(2_000), ..order(heal) })).to_string();
    assert!(said.contains(until), "{said}");
    said
}

/// Lets the session by portal 0 hang for good: it is lost, and comes back with an account that its target takes no more.
fn let_it_hang(storage: &Guest, node: &Guest) {
    takes(storage, "secret-two-of-node");
    storage.cut(0).unwrap();
    let lost = node.wait_for("grep -q FAILED /sys/class/iscsi_session/*/state", LIMIT);
    storage.join(0).unwrap();
    lost.ok("the session is lost");
}

/// Lets the target take this secret from now on.
fn takes(storage: &Guest, secret: &str) {
    let accounts = format!("/sys/kernel/config/target/iscsi/{CHAP}/tpgt_1/acls/*/auth/password");
    let script = format!("for account in {accounts}; do printf {secret} >$account; done");
    storage.exec(&script).ok("a new secret");
}

/// The kernel's number of each session with its portal.
fn sessions(node: &Guest) -> Vec<(String, String)> {
    let look = "for s in /sys/class/iscsi_session/session*; do
        n=${s##*session}; read a </sys/class/iscsi_connection/connection$n:0/persistent_address; echo $n $a
    done";
    let lines = node.exec(look).ok("sessions");
    lines.lines().filter_map(|line| line.split_once(' ')).map(|(n, a)| (n.to_owned(), a.to_owned())).collect()
}

#[test]
fn a_portal_that_was_away_is_joined_when_it_is_back() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        storage.cut(1).unwrap();
        let route = unit(storage, OPEN, &[0, 1], 0, "rig-unit-a");
        let answer = obey(node, Deed::Attach(Box::new(wanted("a", route))));
        let away =
            done(obey(node, Deed::Heal { until: "no session by its portal".to_owned(), millis: 90_000 }));
        storage.join(1).unwrap();
        done(answer);
        assert!(away.to_string().contains(&format!("{}:3260", storage.address(1))), "{away}");
        heal(node, "joined its path");
        node.wait_for(TWO_PATHS, LIMIT).ok("two paths");
        let point = mount(node, "a", "app");
        storage.cut(0).unwrap();
        let written = node.exec_within(LIMIT, &format!("echo kept >{point}/f && sync {point}/f"));
        storage.join(0).unwrap();
        written.ok("write by the portal that came later");
        take_away(node, "a");
    });
}

#[test]
fn a_session_that_hangs_for_good_is_made_anew_while_the_other_path_works_on() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        bring(node, wanted("b", guarded(storage, &[0, 1], "secret-of-node")));
        let point = mount(node, "b", "app");
        let before = sessions(node);
        let_it_hang(storage, node);
        let route = guarded(storage, &[0, 1], "secret-two-of-node");
        bring(node, Attach { staged_before: true, ..wanted("b", route) });
        heal(node, "made its session by");
        // Its disk multipathd may have taken by itself.
        if !node.wait_for(TWO_PATHS, Duration::from_secs(10)).is_ok() {
            heal(node, "joined its path");
        }
        let after = sessions(node);
        let of = |all: &[(String, String)], link| {
            let address = storage.address(link).to_string();
            all.iter().find(|(_, at)| *at == address).map(|(n, _)| n.clone()).unwrap()
        };
        assert_eq!(after.len(), 2, "{after:?}");
        assert_eq!(of(&before, 1), of(&after, 1), "the session in use stays");
        assert_ne!(of(&before, 0), of(&after, 0), "the one that hung is another");
        storage.cut(1).unwrap();
        let written = node.exec_within(LIMIT, &format!("echo kept >{point}/f && sync {point}/f"));
        storage.join(1).unwrap();
        written.ok("write by the session that was made anew");
        take_away(node, "b");
    });
}

#[test]
fn a_session_that_hangs_is_left_to_the_volume_that_needs_it_which_then_goes_on() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        bring(node, wanted("b", guarded(storage, &[0], "secret-of-node")));
        let point = mount(node, "b", "app");
        let before = sessions(node);
        let wait = "for s in /sys/class/iscsi_session/*/recovery_tmo; do echo 3600 >$s; done";
        node.exec(wait).ok("what waits shall wait longer than this test takes");
        let_it_hang(storage, node);
        let writing = node.spawn(&format!("echo kept >{point}/f && sync {point}/f")).unwrap();
        let again = wanted("b", guarded(storage, &[0], "secret-two-of-node"));
        let (kind, text) = refused(node, Attach { staged_before: true, ..again });
        assert!(kind == "Unreachable" && text.contains("no path"), "{kind}: {text}");
        let told = heal(node, "systemctl restart iscsid");
        assert!(told.contains("has no other path"), "{told}");
        assert_eq!(sessions(node), before, "it is not ended");
        assert!(writing.is_running());
        takes(storage, "secret-of-node");
        writing.wait(LIMIT).ok("what waited goes on");
        assert_eq!(sessions(node), before);
        take_away(node, "b");
    });
}

#[test]
fn a_device_that_an_attach_left_when_it_died_is_swept_and_one_in_use_is_not() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        bring(node, wanted("b", unit(storage, OPEN, &[0], 1, "rig-unit-b")));
        let by_hand = format!(
            "iscsiadm -m node -o new -T {CHAP} -p {0}:3260 && cd /sys/class/iscsi_host &&
            for host in host*; do echo '0 0 0' >/sys/class/scsi_host/$host/scan; done",
            storage.address(0)
        );
        node.exec_within(LIMIT, &by_hand).ok("as if an attach had died after its scan; a stranger's record");
        node.wait_for("[ $(ls /sys/block | grep -c ^sd) = 2 ]", LIMIT).ok("two disks");
        heal(node, "removed the device");
        assert_eq!(node.exec("ls /sys/block | grep -c ^sd").stdout.trim(), "1");
        node.exec_within(LIMIT, &format!("iscsiadm -m node -T {CHAP} -o delete"))
            .ok("the stranger's is still there");
        let point = mount(node, "b", "app");
        node.exec(&format!("echo kept >{point}/f && sync {point}/f")).ok("the other goes on");
        take_away(node, "b");
    });
}

#[test]
fn the_doctor_names_a_setting_that_steals_disks() {
    on_rig(|rig| {
        let (_, node) = serve(rig);
        let doctor = |wire: &str| done(obey(node, Deed::Doctor { wires: vec![wire.to_owned()] })).to_string();
        assert_eq!(doctor("multipath"), "[]");
        node.exec("sed -i s/strict/off/ /etc/multipath.conf && multipathd reconfigure").ok("a setting");
        let found = doctor("multipath");
        node.exec("sed -i s/off/strict/ /etc/multipath.conf && multipathd reconfigure").ok("as it was");
        assert!(found.contains("find_multipaths"), "{found}");
        // User-mode Linux has none.
        assert!(doctor("NVMe/TCP").contains("modprobe nvme_tcp"));
    });
}
