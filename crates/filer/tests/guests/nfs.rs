use model::Bytes;
use rig::Rig;
use serde_json::json;

use crate::storage::{apply, clients, digest, permit, serve, volume, writer};
use crate::{LIMIT, on_the_rig};

#[test]
fn nfs_nodes_come_in_by_permit_and_are_fenced_with_what_they_have_open() {
    on_the_rig(|rig| {
        let (storage, node1, node2) = (rig.guest("storage"), rig.guest("node1"), rig.guest("node2"));
        storage.exec("mkdir -p /srv/pool/files && chmod 777 /srv/pool/files").ok("a volume");
        // What somebody else exports stays.
        let foreign = "mkdir -p /run/leister/nfs/other && exportfs -i -o rw,fsid=99 192.0.2.1:/other";
        let directory = json!({ "directory": "/srv/pool/files" });
        let of = |permits: &[_]| volume("files", "nfs", directory.clone(), Bytes::gib(1), permits);
        let both = of(&[permit(rig, "node1"), permit(rig, "node2")]);
        let (changed, routes) = serve(rig, &both);
        assert!(changed);
        storage.exec(foreign).ok("a foreign export");
        assert!(!serve(rig, &both).0, "the second time changes nothing");
        storage.exec("pidof nfsdcld").ok("somebody knows after a restart of nfsd who may reclaim what");
        let path =
            format!("{}:{}", routes[0]["server"].as_str().unwrap(), routes[0]["path"].as_str().unwrap());
        for (version, place) in [("3", "/m3"), ("4.1", "/m41"), ("4.2", "/m42")] {
            let mount = format!("mkdir -p {place} && mount -t nfs -o vers={version} {path} {place}");
            node1.exec_within(LIMIT, &mount).ok(&mount);
            node1
                .exec_within(LIMIT, &format!("echo {version} >{place}/f{version} && sync {place}/f{version}"))
                .ok("write");
        }
        node2
            .exec_within(LIMIT, &format!("mkdir -p /m && mount -t nfs -o vers=4.2 {path} /m"))
            .ok("node2 mounts");

        let mut writers: Vec<_> = ["/m3/w3", "/m41/w41", "/m42/w42"]
            .into_iter()
            .map(|file| {
                let job = writer(node1, file);
                let name = file.rsplit('/').next().unwrap();
                storage.wait_for(&format!("[ -s /srv/pool/files/{name} ]"), LIMIT).ok("it writes");
                job
            })
            .collect();
        assert!(serve(rig, &of(&[permit(rig, "node2")])).0);
        let then = digest(rig, "/srv/pool/files/w*");
        while let Some(writer) = writers.pop() {
            let ended = writer.wait(LIMIT);
            assert!(!ended.is_ok() && ended.code != rig::Output::TIMED_OUT, "it went on: {ended:?}");
        }
        assert!(!node1.exec("cat /m3/f3").is_ok(), "it reads");
        assert_eq!(digest(rig, "/srv/pool/files/w*"), then, "written after the fence");
        node2.exec_within(LIMIT, "echo x >/m/still && sync /m/still").ok("the other node goes on");

        // Back again: the mounts of before work, since the file handles are the same.
        assert!(serve(rig, &both).0);
        node1.wait_for("cat /m3/f3 && ls /m42", LIMIT).ok("it goes on where it was");
        storage.exec("exportfs -u 10.77.0.13:/leister/files").ok("by hand");
        assert_eq!(clients(rig, "files").len(), 1, "what was done by hand is seen");
        assert!(serve(rig, &both).0, "and mended");

        let mut reader = permit(rig, "node1");
        reader.read_only = true;
        serve(rig, &of(&[reader, permit(rig, "node2")]));
        node1.wait_for("! touch /m3/never 2>/dev/null && cat /m3/f3", LIMIT).ok("it only reads");
        node1.exec_within(LIMIT, "umount -fl /m3; umount -fl /m41; umount -fl /m42").ok("unmount");
        node2.exec_within(LIMIT, "umount /m").ok("unmount");
        apply(rig, "withdraw", json!(["files"]));
        let table = storage.exec("cat /var/lib/nfs/etab; ls /run/leister/nfs/leister").ok("table");
        assert!(table.contains("/other") && !table.contains("files"), "{table}");
        storage.exec("exportfs -u 192.0.2.1:/other").ok("tidy");
    });
}

#[test]
fn nfs_serves_addresses_of_ipv6() {
    on_the_rig(|rig: &Rig| {
        rig.guest("storage").exec("mkdir -p /srv/pool/six && chmod 777 /srv/pool/six").ok("a volume");
        let mut six = permit(rig, "node1");
        six.node.addresses = vec![rig.guest("node1").address6(0).into()];
        serve(rig, &volume("six", "nfs", json!({ "directory": "/srv/pool/six" }), Bytes::gib(1), &[six]));
        let server = rig.guest("storage").address6(0);
        let node = rig.guest("node1");
        let mount =
            format!("mkdir -p /m6 && mount -t nfs -o vers=4.2 [{server}]:/leister/six /m6 && echo 1 >/m6/f");
        node.exec_within(LIMIT, &mount).ok("mount");
        node.exec_within(LIMIT, "umount /m6").ok("unmount");
        apply(rig, "withdraw", json!(["six"]));
    });
}
