//! Exports of a kernel's NFS server.

use std::time::{Duration, Instant};

use model::{NfsRoute, Route};
use rig::{Guest, Rig, services};
use wires::{Deed, Order};

use crate::hands::{attach, detach, done, failed, mount, obey, obey_within, order, unmount, volume};
use crate::leaving::{FAR, give_and_leave};
use crate::{LIMIT, on_rig};

/// Brings the server up, also after its power failed, and empties its export.
pub(crate) fn serve(rig: &Rig) -> (&Guest, &Guest) {
    let (storage, node) = (rig.guest("storage"), rig.guest("node1"));
    let pool = "mkdir -p /srv; blkid /dev/ubda >/dev/null || mkfs.ext4 -q /dev/ubda
        mountpoint -q /srv || mount /dev/ubda /srv; mkdir -p /srv/v; rm -rf /srv/v/*; chmod 777 /srv/v";
    storage.exec(pool).ok("a pool");
    services::nfs_server(storage, "/srv").ok("server");
    crate::iscsi::clear(node);
    services::nfs_client(node).ok("client");
    let options = "rw,sync,no_root_squash,fsid=1";
    storage.exec(&format!("exportfs -o {options} 10.77.0.0/16:/srv/v")).ok("export");
    storage.exec(&format!("exportfs -o {options} '[fd77::]/16:/srv/v'")).ok("export");
    (storage, node)
}

fn route(storage: &Guest, options: &str) -> Route {
    Route::Nfs(NfsRoute {
        server: storage.address(0).to_string(),
        path: "/srv/v".to_owned(),
        mount_options: vec![options.to_owned()],
    })
}

fn no_mount_is_left(node: &Guest) {
    let left = node.exec("grep -c leister-mounts /proc/mounts").stdout;
    assert_eq!(left.trim(), "0");
}

#[test]
fn a_volume_is_attached_used_by_two_and_taken_away() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let deed = || Deed::Attach(Box::new(attach("v", route(storage, "vers=4.2,hard"), &["noatime"])));
        done(obey(node, deed()));
        done(obey(node, deed()));
        let (one, two) = (mount(node, "v", "one"), mount(node, "v", "two"));
        assert_eq!(mount(node, "v", "one"), one);
        node.exec(&format!("echo seen >{one}/f && sync {one}/f")).ok("write");
        assert_eq!(node.exec(&format!("cat {two}/f")).ok("read"), "seen");
        assert_eq!(storage.exec("cat /srv/v/f").ok("read"), "seen");
        let options = node.exec(&format!("grep {one} /proc/mounts")).ok("its options");
        assert!(options.contains("vers=4.2") && options.contains("noatime"), "{options}");
        let usage = done(obey(node, Deed::Usage { volume: volume("v") }));
        assert!(usage["total"].as_u64().unwrap() > 100 << 20, "{usage}");
        let (kind, text) = failed(detach(node, "v"));
        assert!(kind == "InUse" && text.contains("`one`, `two`"), "{kind}: {text}");
        assert_eq!(unmount(node, "v", "one"), 1);
        assert_eq!(unmount(node, "v", "two"), 0);
        done(detach(node, "v"));
        done(detach(node, "v"));
        no_mount_is_left(node);
    });
}

#[test]
fn a_read_only_volume_and_a_server_by_its_ipv6_address() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let server = storage.address6(0).to_string();
        let by6 = NfsRoute { server, path: "/srv/v/".to_owned(), mount_options: vec!["vers=4.1".to_owned()] };
        let mut read_only = attach("v", Route::Nfs(by6.clone()), &[]);
        read_only.read_only = true;
        done(obey(node, Deed::Attach(Box::new(read_only))));
        let point = mount(node, "v", "one");
        let said = node.exec(&format!("echo x >{point}/f")).stderr;
        assert!(said.contains("Read-only file system"), "{said}");
        let (kind, text) = failed(obey(node, Deed::Attach(Box::new(attach("v", Route::Nfs(by6), &[])))));
        assert!(kind == "Conflict" && text.contains("read-only"), "{kind}: {text}");
        let other = Deed::Attach(Box::new(attach("v", route(storage, ""), &[])));
        let (kind, text) = failed(obey(node, other));
        assert!(kind == "Conflict" && text.contains("10.77.0."), "{kind}: {text}");
        unmount(node, "v", "one");
        done(detach(node, "v"));
        no_mount_is_left(node);
    });
}

#[test]
fn what_cannot_be_mounted_is_refused_with_its_reason() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let absent = Route::Nfs(NfsRoute {
            server: storage.address(0).to_string(),
            path: "/srv/absent".to_owned(),
            mount_options: vec!["vers=4.2".to_owned()],
        });
        let (kind, text) = failed(obey(node, Deed::Attach(Box::new(attach("v", absent, &[])))));
        assert!(kind == "Missing" && text.contains("/srv/absent"), "{kind}: {text}");
        for option in ["sfot", "addr=10.9.9.9", "bg"] {
            let wanted = attach("v", route(storage, ""), &[option]);
            let (kind, text) = failed(obey(node, Deed::Attach(Box::new(wanted))));
            assert!(kind == "Invalid" && text.contains(option), "{kind}: {text}");
        }
        node.exec("mv /sbin/mount.nfs /sbin/mount.nfs.away").ok("the tool goes");
        let answer = obey(node, Deed::Attach(Box::new(attach("v", route(storage, ""), &[]))));
        node.exec("mv /sbin/mount.nfs.away /sbin/mount.nfs").ok("the tool comes back");
        let (kind, text) = failed(answer);
        assert!(kind == "Tool" && text.contains("nfs-common"), "{kind}: {text}");
        done(detach(node, "v"));
        no_mount_is_left(node);
    });
}

#[test]
fn while_the_network_is_cut_soft_fails_and_hard_waits() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let soft = ["soft,timeo=10,retrans=1,vers=3,nolock"];
        done(obey(node, Deed::Attach(Box::new(attach("soft", route(storage, "hard"), &soft)))));
        done(obey(node, Deed::Attach(Box::new(attach("hard", route(storage, "hard,vers=4.2"), &[])))));
        let (soft, hard) = (mount(node, "soft", "app"), mount(node, "hard", "app"));
        storage.cut(0).unwrap();
        let waiting = node.spawn(&format!("echo kept >{hard}/kept && sync {hard}/kept")).unwrap();
        let write = format!("dd if=/dev/zero of={soft}/lost bs=4k count=1 oflag=direct");
        let output = node.exec_within(LIMIT, &write);
        let (was_waiting, joined) = (waiting.is_running(), storage.join(0));
        joined.unwrap();
        assert!(output.stderr.contains("Input/output error"), "{output:?}");
        assert!(was_waiting);
        waiting.wait(LIMIT).ok("what waited goes on");
        assert_eq!(storage.exec("cat /srv/v/kept").ok("written"), "kept");
        for name in ["soft", "hard"] {
            unmount(node, name, "app");
            done(detach(node, name));
        }
        no_mount_is_left(node);
    });
}

#[test]
fn a_detach_from_a_dead_server_ends_at_its_limit_and_succeeds_when_it_is_back() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        done(obey(node, Deed::Attach(Box::new(attach("v", route(storage, "vers=4.2,hard"), &[])))));
        let point = mount(node, "v", "app");
        let written = node.exec(&format!("echo kept >{point}/kept && sync {point}/kept"));
        storage.kill().unwrap();
        let looked = Instant::now();
        unmount(node, "v", "app");
        let answer = obey_within(node, Some(3_000), Some(5_000), Deed::Detach { volume: volume("v") });
        let took = looked.elapsed();
        storage.start().unwrap();
        written.ok("write");
        // Twice the limits and what a loaded machine needs; a hard mount would wait for ever.
        assert!(took < Duration::from_secs(60), "{took:?}: {answer:?}");
        println!("the detach took {took:?}: {answer:?}");
        let pool = "mkdir -p /srv && mount /dev/ubda /srv && cat /srv/v/kept";
        assert_eq!(storage.exec(pool).ok("written"), "kept");
        serve(rig);
        done(detach(node, "v"));
        no_mount_is_left(node);
    });
}

#[test]
fn what_was_taken_from_this_node_goes_although_its_server_hangs() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        done(obey(node, Deed::Attach(Box::new(attach("v", route(storage, "vers=4.2,hard"), &[])))));
        let point = mount(node, "v", "app");
        node.exec(&format!("echo lost >{point}/lost")).ok("write, to be lost");
        storage.stop().unwrap();
        unmount(node, "v", "app");
        let began = Instant::now();
        let deed = Deed::Detach { volume: volume("v") };
        let waiting = give_and_leave(node, &Order { detach: Some(3_000), ..order(deed) });
        let gone = obey(node, Deed::Abandon { volume: volume("v") });
        let took = began.elapsed();
        let left = node.exec("grep -c leister-mounts /proc/mounts").stdout;
        storage.cont().unwrap();
        assert_eq!(failed(waiting).0, "Unanswered");
        done(gone);
        assert_eq!(left.trim(), "0");
        assert!(took < FAR, "{took:?}");
        println!("giving up a volume of a server that hangs took {took:?}");
    });
}
