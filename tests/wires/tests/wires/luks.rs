//! Encryption on the node: images behind loop devices, in a guest whose kernel has dm-crypt.

use host::{Passphrase, Passphrases};
use model::{Bytes, Filesystem, LocalSource, Route, Secret};
use rig::{Guest, Rig};
use wires::{Attach, Deed};

use crate::hands::{MOUNTS, attach, detach, done, failed, mount, obey, order, unmount, volume};
use crate::{LIMIT, on_rig};

const IMAGE: &str = "/run/luks-image";

/// A node with a blank image, half of which is for the header.
fn prepare(rig: &Rig) -> &Guest {
    let node = rig.guest("node1");
    let script = format!(
        "modprobe -a loop dm_crypt; umount -R {MOUNTS}/*/.stage {MOUNTS}/*/app 2>/dev/null
        for m in $(dmsetup ls | grep -o '^leister-[^[:space:]]*'); do cryptsetup close $m; done
        for l in $(losetup -nO NAME -j {IMAGE}); do losetup -d $l; done
        rm -rf {MOUNTS} {IMAGE}; truncate -s 32M {IMAGE}"
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
    let size = Bytes::mib(32);
    Deed::Attach(Box::new(Attach { filesystem, size, encryption, staged_before, ..attach("e", route, &[]) }))
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
        node.exec(&format!("truncate -s 64M {IMAGE}")).ok("the backend grows it");
        let size = Bytes::mib(64);
        let grow = || Deed::Grow { volume: volume("e"), size };
        let (kind, text) = failed(obey(node, grow()));
        assert!(kind == "Unsupported" && text.contains("passphrase"), "{kind}: {text}");
        let passphrases = key().unwrap();
        done(obey(node, Deed::GrowEncrypted { volume: volume("e"), size, passphrases }));
        done(obey(node, grow()));
        let usage = done(obey(node, Deed::Usage { volume: volume("e") }));
        assert!(usage["total"].as_u64().unwrap() > 36 << 20, "{usage}");
        assert_eq!(failed(detach(node, "e")).0, "InUse");
        unmount(node, "e", "app");
        done(detach(node, "e"));
        done(detach(node, "e"));
        nothing_is_left(node);
        assert_eq!(node.exec(&format!("grep -c PRECIOUS {IMAGE}")).stdout.trim(), "0");
        let mut later = wanted(key(), true);
        if let Deed::Attach(attach) = &mut later {
            attach.size = Bytes::mib(64);
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
        node.exec(&format!("rm {IMAGE}; truncate -s 32M {IMAGE}; mkfs.ext4 -q {IMAGE}")).ok("not encrypted");
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

#[test]
fn hands_killed_at_any_moment_of_the_first_attach_or_of_a_rotation_go_on_where_they_were() {
    on_rig(|rig| {
        let node = prepare(rig);
        let kill_after = |deed: Deed, millis: u64| {
            node.put("/run/order", serde_json::to_string(&order(deed)).unwrap()).unwrap();
            let script = format!(
                "{} </run/order >/run/answer & p=$!; sleep {}.{:03}; kill -9 $p; wait $p; true",
                env!("CARGO_BIN_EXE_hands"),
                millis / 1000,
                millis % 1000
            );
            node.exec_within(LIMIT, &script).ok("killed");
        };
        let key = || passphrases("one horse", None);
        for millis in [20, 170, 320] {
            prepare(rig);
            kill_after(wanted(key(), false), millis);
            done(obey(node, wanted(key(), false)));
            let point = mount(node, "e", "app");
            node.exec(&format!("echo kept >{point}/f && sync {point}/f")).ok("write");
            unmount(node, "e", "app");
            done(detach(node, "e"));
            kill_after(wanted(passphrases("two horses", Some("one horse")), true), millis);
            done(obey(node, wanted(passphrases("two horses", Some("one horse")), true)));
            assert!(opens(node, "two horses") && !opens(node, "one horse"), "killed after {millis} ms");
            let point = mount(node, "e", "app");
            assert_eq!(node.exec(&format!("cat {point}/f")).ok("read"), "kept", "killed after {millis} ms");
            unmount(node, "e", "app");
            done(detach(node, "e"));
            nothing_is_left(node);
        }
    });
}
