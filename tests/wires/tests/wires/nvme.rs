//! Namespaces of a kernel's NVMe target, over TCP.

use model::{Bytes, Filesystem, NamespaceId, NodeName, NvmeRoute, Route};
use rig::{Guest, Rig};
use wires::{Attach, Deed, Order};

use crate::hands::{attach, detach, done, failed, give, mount, obey, order, unmount, volume};
use crate::{LIMIT, on_stock_rig};

const SUBSYSTEM: &str = "nqn.2026-01.test.rig:s";
const A: &str = "aaaaaaaa000000000000000000000001";
const B: &str = "bbbbbbbb000000000000000000000002";

/// Brings the subsystem up with blank namespaces.
fn serve(rig: &Rig) -> (&Guest, &Guest) {
    let (storage, node) = (rig.guest("storage"), rig.guest("node1"));
    let script = with_addresses(storage, node, include_str!("subsystem.sh"));
    storage.exec(&script).ok("subsystem");
    if !left(node).is_empty() {
        let clear =
            "for point in $(grep leister-mounts /proc/mounts | cut -d' ' -f2 | tac); do umount $point; done
            nvme disconnect-all; rm -rf /run/leister-mounts; true";
        node.exec(clear).ok("what a failed test left goes");
    }
    set_size(storage, 64);
    let blank =
        "for u in na nb; do dd if=/dev/zero of=/dev/mapper/$u bs=1M count=64 conv=fsync,notrunc 2>&1; done";
    storage.exec(blank).ok("blank namespaces");
    (storage, node)
}

/// A script that is told of the host's name, the addresses and the disks.
fn with_addresses(storage: &Guest, node: &Guest, script: &str) -> String {
    let identity = done(obey(node, Deed::Identity { name: NodeName::new("node1").unwrap() }));
    format!(
        "host={} link0={} link1={} disk_a=/dev/vdb disk_b=/dev/vdc\n{script}",
        identity["nqn"].as_str().unwrap(),
        storage.address(0),
        storage.address(1),
    )
}

fn namespace(storage: &Guest, links: &[u8], id: &str) -> NvmeRoute {
    NvmeRoute {
        subsystem: SUBSYSTEM.to_owned(),
        portals: links.iter().map(|link| format!("{}:4420", storage.address(*link))).collect(),
        namespace: NamespaceId::Nguid(id.to_owned()),
    }
}

fn wanted(name: &str, route: NvmeRoute) -> Attach {
    Attach { filesystem: Some(Filesystem::Ext4), ..attach(name, Route::Nvme(route), &[]) }
}

/// Gives namespace a its size in MiB, as an array does.
fn set_size(storage: &Guest, size: u64) {
    let table = format!("0 {} linear /dev/vdb 0", size * 2048);
    let script = format!(
        "dmsetup suspend na && dmsetup load na --table '{table}'; dmsetup resume na
        echo 1 >/sys/kernel/config/nvmet/subsystems/{SUBSYSTEM}/namespaces/1/revalidate_size"
    );
    storage.exec(&script).ok("the array resizes it");
}

fn left(node: &Guest) -> String {
    let look = "grep leister-mounts /proc/mounts
        for f in /sys/class/nvme/nvme* /sys/block/nvme*; do [ ! -e $f ] || echo $f; done
        for f in /run/leister-mounts/* /run/leister-mounts/*/.[a-z]* /run/leister-mounts/.sessions/*; do
            [ ! -e $f ] || echo $f
        done";
    node.exec(look).ok("what is left")
}

#[track_caller]
fn nothing_is_left(node: &Guest) {
    assert_eq!(left(node), "");
}

#[test]
fn a_namespace_on_two_portals_is_used_grown_and_taken_away_with_its_data() {
    on_stock_rig(|rig| {
        let (storage, node) = serve(rig);
        let route = namespace(storage, &[0, 1], A);
        let first = done(obey(node, Deed::Attach(Box::new(wanted("a", route.clone())))));
        assert_eq!(first["formatted"], true);
        assert_eq!(node.exec("ls -d /sys/class/nvme/nvme* | wc -l").ok("controllers"), "2");
        let again = done(obey(node, Deed::Attach(Box::new(wanted("a", route.clone())))));
        assert_eq!(again["formatted"], false);
        let (one, two) = (mount(node, "a", "one"), mount(node, "a", "two"));
        storage.cut(0).unwrap();
        let written = node.exec_within(LIMIT, &format!("echo kept >{one}/f && sync {one}/f"));
        storage.join(0).unwrap();
        written.ok("write by the other path");
        assert_eq!(node.exec(&format!("cat {two}/f")).ok("read"), "kept");
        let larger = Deed::Grow { volume: volume("a"), size: Bytes::mib(96) };
        let (kind, text) = failed(obey(node, larger));
        assert!(kind == "Size" && text.contains("64"), "{kind}: {text}");
        set_size(storage, 96);
        done(obey(node, Deed::Grow { volume: volume("a"), size: Bytes::mib(96) }));
        let usage = done(obey(node, Deed::Usage { volume: volume("a") }));
        assert!(usage["total"].as_u64().unwrap() > 70 << 20, "{usage}");
        let (kind, _) = failed(detach(node, "a"));
        assert_eq!(kind, "InUse");
        unmount(node, "a", "one");
        unmount(node, "a", "two");
        done(detach(node, "a"));
        done(detach(node, "a"));
        nothing_is_left(node);
        let mut later = wanted("a", route);
        (later.size, later.staged_before, later.read_only) = (Bytes::mib(96), true, true);
        done(obey(node, Deed::Attach(Box::new(later))));
        let point = mount(node, "a", "app");
        assert_eq!(node.exec(&format!("cat {point}/f")).ok("read"), "kept");
        let said = node.exec(&format!("echo x >{point}/g")).stderr;
        assert!(said.contains("Read-only file system"), "{said}");
        unmount(node, "a", "app");
        done(detach(node, "a"));
        nothing_is_left(node);
    });
}

#[test]
fn another_namespace_or_a_strangers_data_is_refused_untouched() {
    on_stock_rig(|rig| {
        let (storage, node) = serve(rig);
        let hash = || storage.exec("sha256sum /dev/mapper/na /dev/mapper/nb").ok("hash");
        storage
            .exec("printf precious | dd of=/dev/mapper/nb bs=1 seek=5000000 conv=fsync,notrunc")
            .ok("data");
        let before = hash();
        let refuse = |wanted: Attach| {
            let refused = failed(obey(node, Deed::Attach(Box::new(wanted))));
            nothing_is_left(node);
            refused
        };
        let (kind, text) = refuse(wanted("b", namespace(storage, &[0], B)));
        assert!(kind == "Refused" && text.contains("not zero"), "{kind}: {text}");
        let absent = namespace(storage, &[0], "cccccccc000000000000000000000003");
        let (kind, text) = refuse(wanted("c", absent));
        assert!(kind == "Missing" && text.contains("cccccccc"), "{kind}: {text}");
        let mut smaller = wanted("a", namespace(storage, &[0], A));
        smaller.size = Bytes::mib(32);
        let (kind, text) = refuse(smaller);
        assert!(kind == "Size" && text.contains("64MiB"), "{kind}: {text}");
        let unknown =
            NvmeRoute { subsystem: "nqn.2026-01.test.rig:x".to_owned(), ..namespace(storage, &[0], A) };
        let (kind, text) = refuse(wanted("a", unknown));
        assert!(kind == "System" && text.contains("does not let this node in"), "{kind}: {text}");
        let injected = NvmeRoute { subsystem: format!("{SUBSYSTEM},x=y"), ..namespace(storage, &[0], A) };
        let (kind, text) = refuse(wanted("a", injected));
        assert!(kind == "Invalid" && text.contains("no NVMe name"), "{kind}: {text}");
        assert_eq!(hash(), before);
    });
}

#[test]
fn a_subsystem_is_left_with_the_last_namespace_and_a_strangers_connection_never() {
    on_stock_rig(|rig| {
        let (storage, node) = serve(rig);
        for (name, id) in [("a", A), ("b", B)] {
            done(obey(node, Deed::Attach(Box::new(wanted(name, namespace(storage, &[0], id))))));
        }
        mount(node, "a", "app");
        unmount(node, "a", "app");
        done(detach(node, "a"));
        let point = mount(node, "b", "app");
        node.exec(&format!("echo kept >{point}/f && sync {point}/f")).ok("write");
        unmount(node, "b", "app");
        done(detach(node, "b"));
        nothing_is_left(node);
        let by_hand = format!("nvme connect -t tcp -n {SUBSYSTEM} -a {} -s 4420", storage.address(0));
        node.exec_within(LIMIT, &by_hand).ok("somebody connects by hand");
        let mut again = wanted("a", namespace(storage, &[0], A));
        again.staged_before = true;
        done(obey(node, Deed::Attach(Box::new(again))));
        done(detach(node, "a"));
        assert_eq!(node.exec("ls -d /sys/class/nvme/nvme* | wc -l").ok("controllers"), "1");
        node.exec_within(LIMIT, "nvme disconnect-all").ok("it goes");
        node.wait_for("! ls -d /sys/block/nvme* 2>/dev/null", LIMIT).ok("gone");
        nothing_is_left(node);
    });
}

#[test]
fn a_portal_that_was_away_is_joined_when_it_is_back() {
    on_stock_rig(|rig| {
        let (storage, node) = serve(rig);
        storage.cut(1).unwrap();
        let answer = obey(node, Deed::Attach(Box::new(wanted("a", namespace(storage, &[0, 1], A)))));
        let heal = |until: &str| {
            done(obey(node, Deed::Heal { until: until.to_owned(), millis: 60_000 })).to_string()
        };
        let away = heal("no connection by its portal");
        storage.join(1).unwrap();
        done(answer);
        assert!(away.contains(&format!("{}:4420", storage.address(1))), "{away}");
        let joined = heal("which was away");
        assert!(joined.contains("which was away"), "{joined}");
        let point = mount(node, "a", "app");
        storage.cut(0).unwrap();
        let written = node.exec_within(LIMIT, &format!("echo kept >{point}/f && sync {point}/f"));
        storage.join(0).unwrap();
        written.ok("write by the portal that came later");
        unmount(node, "a", "app");
        done(detach(node, "a"));
        nothing_is_left(node);
    });
}

#[test]
fn a_raw_namespace_is_given_as_it_is_and_kept_while_somebody_has_it_open() {
    on_stock_rig(|rig| {
        let (storage, node) = serve(rig);
        let raw = || Attach { filesystem: None, ..wanted("a", namespace(storage, &[0, 1], A)) };
        let attached = done(obey(node, Deed::Attach(Box::new(raw()))));
        let device = attached["device"].as_str().unwrap().to_owned();
        assert_eq!(storage.exec("tr -d '\\0' </dev/mapper/na | wc -c").ok("blank"), "0");
        node.exec(&format!("printf kept | dd of={device} bs=4k conv=sync,fsync 2>&1")).ok("write");
        let deed = Deed::Mount { volume: volume("a"), reference: "app".to_owned() };
        let (kind, text) = failed(obey(node, deed));
        assert!(kind == "Unsupported" && text.contains("raw device"), "{kind}: {text}");
        let holder = node
            .spawn(&format!("exec 9<{device}; while [ ! -e /run/done ]; do /run/bb/sleep 0.1; done"))
            .unwrap();
        node.wait_for(&format!("ls -l /proc/*/fd/9 2>/dev/null | grep -q {device}"), LIMIT).ok("it is open");
        let answer = detach(node, "a");
        node.exec("touch /run/done").ok("it ends");
        holder.wait(LIMIT).ok("it ends");
        let (kind, text) = failed(answer);
        assert!(kind == "Busy" && text.contains("pid") && text.contains("open"), "{kind}: {text}");
        done(detach(node, "a"));
        nothing_is_left(node);
        let read_only = Attach { read_only: true, ..raw() };
        let attached =
            done(give(node, &Order { single_path: true, ..order(Deed::Attach(Box::new(read_only))) }));
        let device = attached["device"].as_str().unwrap();
        assert_eq!(node.exec("ls -d /sys/class/nvme/nvme* | wc -l").ok("controllers"), "1");
        assert_eq!(node.exec(&format!("head -c 4 {device}")).ok("read"), "kept");
        assert!(!node.exec(&format!("printf lost | dd of={device} bs=4k conv=sync,fsync")).is_ok());
        done(detach(node, "a"));
        nothing_is_left(node);
    });
}
