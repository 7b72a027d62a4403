//! A node's hands on real wires: storage in one guest, a node in another, separate kernels.

use std::path::Path;

use rig::{Backend, Guest, Limit, Output, Rig, Size};

const LIMIT: Limit = Limit::from_secs(180);
const STORAGE: &str = include_str!("storage.sh");
const MULTIPATH: &str = "defaults {\n user_friendly_names no\n find_multipaths strict\n polling_interval 2\n}\n\
    overrides {\n no_path_retry queue\n}\n";
const TARGET: &str = "iqn.2024-01.test.wires:t1";
const MIB: u64 = 1 << 20;

/// One command for the hands of a node.
fn hands(node: &Guest, command: &str) -> Output {
    let program = env!("CARGO_BIN_EXE_hands");
    node.exec_within(LIMIT, &format!("{program} <<'EOF'\n{command}\nEOF\n"))
}

fn iscsi(storage: &Guest, volume: &str, lun: u8, serial: &str, more: &str) -> String {
    let (one, two) = (storage.address(0), storage.address(1));
    format!(
        r#""volume":"{volume}","size":{size},"route":{{"type":"iscsi","target":"{TARGET}",
        "portals":["{one}:3260","{two}:3260"],"lun":{lun},"serial":"{serial}"}}{more}"#,
        size = 320 * MIB
    )
}

#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    assert!(!output.is_ok(), "it was done: {}", output.stdout);
    for word in words {
        assert!(output.stderr.contains(word), "no `{word}` in: {}", output.stderr);
    }
}

#[test]
fn a_node_uses_nfs_and_a_unit_by_two_paths_one_of_which_is_cut() {
    if let Err(reason) = Rig::available(Backend::Uml) {
        println!("skipped: {reason}");
        return;
    }
    assert!(Path::new(env!("CARGO_BIN_EXE_hands")).exists());
    let rig = Rig::builder()
        .guest("storage", |g| g.memory(Size::mib(512)).disk(Size::gib(4)))
        .guest("node1", |g| g.memory(Size::mib(512)))
        .backend(Backend::Uml)
        .up()
        .unwrap();
    let (storage, node) = (rig.guest("storage"), rig.guest("node1"));
    storage.exec_within(LIMIT, STORAGE).ok("the storage is set up");
    rig::services::nfs_server(storage, "/srv/pool").ok("nfsd runs");
    storage
        .exec("exportfs -i -o rw,sync,no_subtree_check,no_root_squash,fsid=7 '*:/srv/pool/share'")
        .ok("exported");
    rig::services::nfs_client(node).ok("the node can mount NFS");
    rig::services::block_client(node, MULTIPATH).ok("the node has iscsid and multipathd");

    nfs(storage, node);
    multipath(storage, node);
}

fn nfs(storage: &Guest, node: &Guest) {
    for (version, server) in [("3", storage.address(0).to_string()), ("4.1", storage.address6(0).to_string())]
    {
        let attach = format!(
            r#"{{"do":"attach","volume":"share","route":{{"type":"nfs","server":"{server}","path":"/srv/pool/share",
            "mountOptions":["vers=3,soft","timeo=50"]}},"mountOptions":["vers={version}","hard"]}}"#
        );
        for _ in 0..2 {
            hands(node, &attach).ok("an export is mounted, and found mounted");
        }
        let mounts = node.exec("grep /run/hands/share/.stage /proc/mounts").ok("it is in the mount table");
        assert!(mounts.contains(&format!("vers={version}")) && mounts.contains(",hard"), "{mounts}");
        hands(node, r#"{"do":"mount","volume":"share","reference":"a"}"#).ok("a reference");
        let read = node.exec("cat /run/hands/share/a/greeting; echo x >/run/hands/share/a/x").ok("files");
        assert_eq!(read, "hello");
        refused(&hands(node, r#"{"do":"detach","volume":"share"}"#), &["still mounted for `a`"]);
        hands(node, r#"{"do":"unmount","volume":"share","reference":"a"}"#).ok("unmounted");
        hands(node, r#"{"do":"detach","volume":"share"}"#).ok("detached");
        node.exec("! grep /run/hands /proc/mounts").ok("nothing is left");
    }
    let missing = format!(
        r#"{{"do":"attach","volume":"no","route":{{"type":"nfs","server":"{}","path":"/srv/none"}}}}"#,
        storage.address(0)
    );
    refused(&hands(node, &missing), &["mount.nfs", "/srv/none"]);
}

fn multipath(storage: &Guest, node: &Guest) {
    let attach = |more: &str| format!(r#"{{"do":"attach",{}}}"#, iscsi(storage, "v0", 0, "unit-0", more));
    let first = hands(node, &attach(r#","filesystem":"ext4""#)).ok("a blank unit is formatted");
    assert!(first.ends_with(" true"), "{first}");
    let again = hands(node, &attach(r#","filesystem":"ext4","stagedBefore":true"#)).ok("found attached");
    assert!(again.ends_with(" false"), "{again}");
    hands(node, r#"{"do":"mount","volume":"v0","reference":"a"}"#).ok("a reference");
    node.exec("echo kept >/run/hands/v0/a/f; sync; ls /sys/class/iscsi_session | wc -l").ok("written");
    let sessions = node.exec("ls /sys/class/iscsi_session | wc -l").ok("sessions");
    assert_eq!(sessions, "2", "both portals");
    let devices = node.exec("ls -d /sys/class/scsi_device/*:*:*:* | wc -l").ok("devices");
    assert_eq!(devices, "2", "one unit only, by two paths");
    node.exec("grep -q '^/dev/dm-.* /run/hands/v0/a ext4' /proc/mounts").ok("mounted from the map");
    storage.cut(1).expect("link 1 is cut");
    node.exec_within(LIMIT, "echo more >>/run/hands/v0/a/f; sync /run/hands/v0/a/f").ok("one path is enough");
    storage.join(1).expect("link 1 is joined");
    hands(node, r#"{"do":"usage","volume":"v0"}"#).ok("usage");
    hands(node, r#"{"do":"unmount","volume":"v0","reference":"a"}"#).ok("unmounted");
    node.wait_for("! multipathd show paths format %t | grep -q failed", LIMIT).ok("both paths are back");
    hands(node, r#"{"do":"detach","volume":"v0"}"#).ok("detached");
}
