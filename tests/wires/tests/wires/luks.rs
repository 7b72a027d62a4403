//! Encryption on the node: images behind loop devices, in a guest whose kernel has dm-crypt.

use host::{Passphrase, Passphrases};
use model::{Bytes, Filesystem, LocalSource, Route, Secret};
use rig::{Guest, Rig};
use wires::{Attach, Deed};

use crate::hands::{MOUNTS, attach, detach, done, failed, mount, obey, order, unmount, volume};
use crate::{LIMIT, on_rig};

const IMAGE: &str = "/run/luks-image";

/// A node with a blank image of 64 MiB.
fn prepare(rig: &Rig) -> &Guest {
    let node = rig.guest("node1");
    let script = format!(
        "modprobe -a loop dm_crypt; umount -R {MOUNTS}/*/.stage {MOUNTS}/*/app 2>/dev/null
        for m in $(dmsetup ls | grep -o '^leister-[^[:space:]]*'); do cryptsetup close $m; done
        for l in $(losetup -nO NAME -j {IMAGE}); do losetup -d $l; done
        rm -rf {MOUNTS} {IMAGE}; truncate -s 64M {IMAGE}"
    );
    node.exec(&script).ok("a blank image");
    node
}

fn passphrases(current: &str, previous: Option<&str>) -> Option<Passphrases> {
    let passphrase =
        |secret: &str| Passphrase { name: format!("name of {}", &secret[..3]), secret: Secret::new(secret) };
    Some(Passphrases { current: passphrase(current), previous: previous.map(passphrase) })
}

fn wanted(encryption: Option<Passphrases>, staged_before: bool) -> Deed {
    let route = Route::Local { source: LocalSource::Image { path: IMAGE.into() } };
    let filesystem = Some(Filesystem::Ext4);
    Deed::Attach(Box::new(Attach { filesystem, encryption, staged_before, ..attach("e", route, &[]) }))
}

fn hash(node: &Guest) -> String {
    node.exec(&format!("sha256sum {IMAGE}")).ok("hash")
}

/// How many passphrases open it.
fn slots(node: &Guest) -> usize {
    let dump = node.exec(&format!("cryptsetup luksDump {IMAGE}")).ok("its header");
    dump.lines().filter(|line| line.trim().ends_with(": luks2") && line.starts_with("  ")).count()
}

#[track_caller]
fn opens(node: &Guest, secret: &str) -> bool {
    let script = format!("printf %s '{secret}' | cryptsetup open --test-passphrase --key-file=- {IMAGE}");
    node.exec(&script).is_ok()
}

#[track_caller]
fn nothing_is_left(node: &Guest) {
    let look = format!(
        "grep leister-mounts /proc/mounts; dmsetup ls | grep leister; losetup -nj {IMAGE}
        ls -A {MOUNTS}/* 2>/dev/null | grep -v '^.format$'"
    );
    assert_eq!(node.exec(&look).stdout, "");
}

#[test]
fn an_encrypted_volume_is_made_used_grown_and_taken_away_and_shows_nothing_outside() {
    on_rig(|rig| {
        let node = prepare(rig);
        let key = || passphrases("correct horse", None);
        let first = done(obey(node, wanted(key(), false)));
        assert_eq!(first["formatted"], true);
        let again = done(obey(node, wanted(key(), false)));
        assert_eq!(again["formatted"], false);
        let point = mount(node, "e", "app");
        node.exec(&format!("echo PRECIOUS >{point}/f && sync {point}/f")).ok("write");
        assert!(node.exec(&format!("grep {point} /proc/mounts")).ok("its device").starts_with("/dev/dm-"));
        assert_eq!(done(obey(node, Deed::Doctor { wires: Vec::new() })).to_string(), "[]");
        node.exec(&format!("truncate -s 96M {IMAGE}")).ok("the backend grows it");
        let size = Bytes::mib(96);
        let grow = || Deed::Grow { volume: volume("e"), size };
        let (kind, text) = failed(obey(node, grow()));
        assert!(kind == "Unsupported" && text.contains("passphrase"), "{kind}: {text}");
        let passphrases = key().unwrap();
        done(obey(node, Deed::GrowEncrypted { volume: volume("e"), size, passphrases }));
        done(obey(node, grow()));
        let usage = done(obey(node, Deed::Usage { volume: volume("e") }));
        assert!(usage["total"].as_u64().unwrap() > 60 << 20, "{usage}");
        assert_eq!(failed(detach(node, "e")).0, "InUse");
        unmount(node, "e", "app");
        done(detach(node, "e"));
        done(detach(node, "e"));
        nothing_is_left(node);
        assert_eq!(node.exec(&format!("grep -c PRECIOUS {IMAGE}")).stdout.trim(), "0");
        let mut later = wanted(key(), true);
        if let Deed::Attach(attach) = &mut later {
            attach.size = Bytes::mib(96);
        }
        assert_eq!(done(obey(node, later))["formatted"], false);
        let point = mount(node, "e", "app");
        assert_eq!(node.exec(&format!("cat {point}/f")).ok("read"), "PRECIOUS");
        unmount(node, "e", "app");
        done(detach(node, "e"));
        nothing_is_left(node);
    });
}

#[test]
fn a_wrong_passphrase_is_told_by_name_and_changes_nothing() {
    on_rig(|rig| {
        let node = prepare(rig);
        done(obey(node, wanted(passphrases("correct horse", None), false)));
        mount(node, "e", "app");
        unmount(node, "e", "app");
        done(detach(node, "e"));
        let before = hash(node);
        for staged_before in [true, false] {
            for wrong in [passphrases("incorrect", None), passphrases("incorrect", Some("mistaken"))] {
                let (kind, text) = failed(obey(node, wanted(wrong, staged_before)));
                assert_eq!(kind, "Refused", "{text}");
                assert!(!staged_before || text.contains("name of inc"), "{text}");
                assert!(!text.contains("incorrect") && !text.contains("mistaken"), "{text}");
                nothing_is_left(node);
            }
        }
        // What is encrypted is no ext4, and what is not is not made so.
        let (kind, text) = failed(obey(node, wanted(None, true)));
        assert!(kind == "Refused" && text.contains("LUKS"), "{kind}: {text}");
        assert_eq!(hash(node), before);
        node.exec(&format!("rm {IMAGE}; truncate -s 64M {IMAGE}; mkfs.ext4 -q {IMAGE}")).ok("not encrypted");
        let before = hash(node);
        let (kind, text) = failed(obey(node, wanted(passphrases("correct horse", None), true)));
        assert!(kind == "Refused" && text.contains("not encrypted"), "{kind}: {text}");
        assert_eq!(hash(node), before);
        nothing_is_left(node);
    });
}

#[test]
fn the_new_passphrase_takes_the_place_of_the_old_one_also_after_a_death_between_the_two() {
    on_rig(|rig| {
        let node = prepare(rig);
        done(obey(node, wanted(passphrases("one horse", None), false)));
        let point = mount(node, "e", "app");
        node.exec(&format!("echo kept >{point}/f && sync {point}/f")).ok("write");
        // While it is in use.
        done(obey(node, wanted(passphrases("two horses", Some("one horse")), true)));
        assert!(opens(node, "two horses") && !opens(node, "one horse") && slots(node) == 1);
        done(obey(node, wanted(passphrases("two horses", Some("one horse")), true)));
        unmount(node, "e", "app");
        done(detach(node, "e"));
        // As a death after the first half leaves it.
        let add = format!("printf 'two horses' >/run/old; printf 'three horses' >/run/new
            cryptsetup luksAddKey -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /run/old {IMAGE} /run/new");
        node.exec(&add).ok("half a rotation");
        assert_eq!(slots(node), 2);
        done(obey(node, wanted(passphrases("three horses", Some("two horses")), true)));
        assert!(opens(node, "three horses") && !opens(node, "two horses") && slots(node) == 1);
        done(detach(node, "e"));
        // Retired by a volume that was away meanwhile, and never the last one.
        done(obey(node, wanted(passphrases("four horses", Some("three horses")), true)));
        done(obey(node, wanted(passphrases("four horses", Some("four horses")), true)));
        assert!(opens(node, "four horses") && slots(node) == 1);
        let point = mount(node, "e", "app");
        assert_eq!(node.exec(&format!("cat {point}/f")).ok("read"), "kept");
        unmount(node, "e", "app");
        done(detach(node, "e"));
        nothing_is_left(node);
    });
}

/// Calls the hands and kills them, with all they started or without, as soon as a condition holds.
fn kill_when(node: &Guest, condition: &str, with_tools: bool, deed: Deed) {
    node.put("/run/order", serde_json::to_string(&order(deed)).unwrap()).unwrap();
    let tools = if with_tools { "/run/bb/killall -q -9 cryptsetup mkfs.ext4" } else { ":" };
    let script = format!(
        "{} </run/order >/run/answer & p=$!
        until {condition}; do kill -0 $p || exit 9; done 2>/dev/null
        kill -9 $p; {tools}; wait $p; [ ! -s /run/answer ]",
        env!("CARGO_BIN_EXE_hands")
    );
    node.exec_within(LIMIT, &script).ok(condition);
}

#[test]
fn hands_killed_between_two_steps_of_a_format_or_a_rotation_go_on_where_they_were() {
    on_rig(|rig| {
        let key = || passphrases("one horse", None);
        let phase = |phase| format!("grep -q {phase} {MOUNTS}/e/.format");
        for (condition, with_tools) in
            [(phase("begun"), true), (phase("begun"), false), (phase("encrypted"), true)]
        {
            let node = prepare(rig);
            kill_when(node, &condition, with_tools, wanted(key(), false));
            let attached = done(obey(node, wanted(key(), false)));
            assert_eq!(attached["formatted"], true, "killed when {condition}");
            let point = mount(node, "e", "app");
            node.exec(&format!("echo kept >{point}/f && sync {point}/f")).ok("write");
            unmount(node, "e", "app");
            done(detach(node, "e"));
            nothing_is_left(node);
        }
        let node = rig.guest("node1");
        let rotation = || wanted(passphrases("two horses", Some("one horse")), true);
        let added = format!("cryptsetup luksDump {IMAGE} | grep -q '^  1: luks2'");
        kill_when(node, &added, true, rotation());
        assert!(opens(node, "one horse"), "it was killed before the old one went");
        done(obey(node, rotation()));
        assert!(opens(node, "two horses") && !opens(node, "one horse") && slots(node) == 1);
        let point = mount(node, "e", "app");
        assert_eq!(node.exec(&format!("cat {point}/f")).ok("read"), "kept");
        unmount(node, "e", "app");
        done(detach(node, "e"));
        nothing_is_left(node);
    });
}

#[test]
fn no_passphrase_is_in_arguments_environments_or_messages() {
    on_rig(|rig| {
        let node = prepare(rig);
        let secret = "hunter2hunter2";
        let watch = node.spawn(
            "while [ ! -e /run/enough ]; do cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ; done >/run/seen 2>/dev/null; true",
        ).unwrap();
        for encryption in [passphrases("old-old-old", None), passphrases(secret, Some("old-old-old"))] {
            let order = order(wanted(encryption, false));
            node.put("/run/order", serde_json::to_string(&order).unwrap()).unwrap();
            let said = node.exec_within(LIMIT, &format!("{} </run/order 2>&1", env!("CARGO_BIN_EXE_hands")));
            let said = said.ok("hands");
            assert!(said.contains("done") && !said.contains(secret) && !said.contains("old-old"), "{said}");
        }
        node.exec("touch /run/enough").ok("enough");
        watch.wait(LIMIT).ok("watch");
        let seen = |word: &str| node.exec(&format!("grep -ac {word} /run/seen")).stdout.trim().to_owned();
        let (tools, secrets) = (seen("luksAddKey"), (seen(secret), seen("old-old-old")));
        node.exec("rm -f /run/enough /run/seen").ok("clean");
        assert_ne!(tools, "0", "the watch saw cryptsetup at work");
        assert_eq!(secrets, ("0".to_owned(), "0".to_owned()));
        done(detach(node, "e"));
        nothing_is_left(node);
    });
}

/// The program under test, if it is built.
fn leister() -> Option<String> {
    let named = std::env::var("LEISTER_BIN").ok();
    let beside = || {
        let built = std::path::Path::new(env!("CARGO_BIN_EXE_hands")).with_file_name("leister");
        built.exists().then(|| built.display().to_string())
    };
    named.or_else(beside)
}

#[test]
fn a_container_engine_gets_an_encrypted_volume_from_the_program_itself() {
    let Some(leister) = leister() else {
        println!("skipped: the program is not built: cargo build -p leister, or name it in LEISTER_BIN");
        return;
    };
    on_rig(|rig| {
        let node = prepare(rig);
        let start = format!(
            "mkdir -p -m 700 /run/secrets; umask 077; echo 'one horse' >/run/secrets/luks-passphrase; umask 022
            {leister} run --pool /run/pool --pool-size 512MiB --state-dir /run/leister --plugin-dir /run/plugins \
                --listen none --socket /run/leister.sock --luks-secrets /run/secrets --log-level debug"
        );
        let program = node.spawn(&format!("{start} 2>/run/leister.log")).unwrap();
        let call = |what: &str, body: &str| {
            let script = format!(
                "curl -s --max-time 110 --unix-socket /run/plugins/leister.sock -d '{body}' \
                 http://plugin/VolumeDriver.{what}"
            );
            node.exec_within(LIMIT, &script).ok("curl")
        };
        node.wait_for("test -S /run/plugins/leister.sock", LIMIT).ok("it serves");
        let files = call("Create", r#"{"Name":"f","Opts":{"LUKSEncryption":"true","size":"16MiB"}}"#);
        assert!(files.contains("smallest encrypted volume"), "{files}");
        let made = call("Create", r#"{"Name":"e","Opts":{"LUKSEncryption":"true","size":"64MiB"}}"#);
        assert!(made.contains(r#""Err":"""#) || !made.contains("Err"), "{made}");
        let mounted = call("Mount", r#"{"Name":"e","ID":"one"}"#);
        let mounted: serde_json::Value = serde_json::from_str(&mounted).unwrap();
        let Some(point) = mounted["Mountpoint"].as_str() else {
            panic!("{mounted}: {}", node.exec("tail -n 40 /run/leister.log").stdout);
        };
        node.exec(&format!("echo PRECIOUS >{point}/f && sync {point}/f")).ok("write");
        assert!(node.exec(&format!("grep {point} /proc/mounts")).ok("its device").starts_with("/dev/dm-"));
        node.exec("pkill -9 -x leister").ok("it dies");
        let _ = program.wait(LIMIT);
        let rotate = "cd /run/secrets; umask 077; mv luks-passphrase previous-luks-passphrase
            echo 'two horses' >luks-passphrase";
        node.exec(rotate).ok("a new passphrase");
        let program = node
            .spawn(&format!(
                "{leister_run} 2>>/run/leister.log",
                leister_run = start.rsplit('\n').next().unwrap().trim()
            ))
            .unwrap();
        node.wait_for(
            "curl -s --unix-socket /run/plugins/leister.sock -d '{}' http://p/Plugin.Activate",
            LIMIT,
        )
        .ok("it serves again");
        call("Unmount", r#"{"Name":"e","ID":"one"}"#);
        node.wait_for("! dmsetup ls | grep -q leister", LIMIT).ok("it is closed");
        let mounted = call("Mount", r#"{"Name":"e","ID":"two"}"#);
        let mounted: serde_json::Value = serde_json::from_str(&mounted).unwrap();
        let Some(point) = mounted["Mountpoint"].as_str() else {
            panic!("{mounted}: {}", node.exec("tail -n 40 /run/leister.log").stdout);
        };
        assert_eq!(node.exec(&format!("cat {point}/f")).ok("read"), "PRECIOUS");
        call("Unmount", r#"{"Name":"e","ID":"two"}"#);
        call("Remove", r#"{"Name":"e"}"#);
        node.exec("pkill -TERM -x leister").ok("it ends");
        let _ = program.wait(LIMIT);
        let log = node.exec("cat /run/leister.log").stdout;
        assert!(log.contains("does not open the volume any more"), "{log}");
        assert!(!log.contains("horse"), "a passphrase is in the log");
        node.exec("umount /run/pool 2>/dev/null; losetup -D; rm -rf /run/pool* /run/leister* /run/secrets")
            .ok("clean");
    });
}
