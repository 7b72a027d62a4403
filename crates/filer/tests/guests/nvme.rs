use model::Bytes;
use rig::Guest;
use serde_json::{Value, json};

use crate::storage::{apply, clients, digest, permit, serve, volume, writer};
use crate::{LIMIT, on_the_rig};

#[test]
fn nvme_namespaces_are_reached_by_permit_grow_and_are_fenced_while_others_go_on() {
    on_the_rig(|rig| {
        let (storage, node1, node2) = (rig.guest("storage"), rig.guest("node1"), rig.guest("node2"));
        storage.exec("truncate -s 64M /srv/pool/space.img").ok("a volume");
        let of = |permits: &[_]| {
            volume("space", "nvme", json!({ "image": "/srv/pool/space.img" }), Bytes::mib(64), permits)
        };
        let both = of(&[permit(rig, "node1"), permit(rig, "node2")]);
        let (changed, routes) = serve(rig, &both);
        assert!(changed);
        assert!(!serve(rig, &both).0, "the second time changes nothing");
        let (disk1, disk2) = (connect(node1, &routes[0]), connect(node2, &routes[1]));
        let stranger =
            node2.exec_within(LIMIT, &format!("{} -n {}", CONNECT, routes[0]["subsystem"].as_str().unwrap()));
        assert!(!stranger.is_ok(), "another host came in");

        storage.exec("truncate -s 96M /srv/pool/space.img").ok("larger");
        apply(rig, "grown", json!([["space", Bytes::mib(96)]]));
        node1.wait_for(&format!("[ $(blockdev --getsize64 {disk1}) = {} ]", 96 << 20), LIMIT).ok("it grew");

        let going = writer(node1, &disk1);
        let one = "dd if=/srv/pool/space.img bs=4k count=1 status=none | tr -d '\\0' | grep -q x";
        storage.wait_for(one, LIMIT).ok("it writes");
        serve(rig, &of(&[permit(rig, "node2")]));
        let then = digest(rig, "/srv/pool/space.img");
        let write = format!("echo second | dd of={disk2} bs=4k conv=sync oflag=direct seek=1");
        node2.exec_within(LIMIT, &write).ok("the other node goes on");
        assert_eq!(clients(rig, "space").len(), 1);
        let second = digest(rig, "/srv/pool/space.img");
        assert_ne!(second, then);
        // A host that lost its controller waits for it; its user ends that.
        let subsystem = routes[0]["subsystem"].as_str().unwrap();
        node1.exec_within(LIMIT, &format!("nvme disconnect -n {subsystem}")).ok("disconnect");
        let ended = going.wait(LIMIT);
        assert!(ended.stderr.contains("rror"), "it went on: {ended:?}");
        assert_eq!(digest(rig, "/srv/pool/space.img"), second, "written after the fence");
        node2.exec_within(LIMIT, "nvme disconnect-all").ok("disconnect");
        apply(rig, "withdraw", json!(["space"]));
        let left = storage.exec("ls /sys/kernel/config/nvmet/subsystems").ok("left");
        assert_eq!(left, "");
    });
}

const CONNECT: &str = "nvme connect -t tcp -a storage -s 4420";

pub(crate) fn connect(node: &Guest, route: &Value) -> String {
    let subsystem = route["subsystem"].as_str().unwrap();
    for portal in route["portals"].as_array().unwrap() {
        let (address, port) = portal.as_str().unwrap().rsplit_once(':').unwrap();
        node.exec_within(LIMIT, &format!("nvme connect -t tcp -n {subsystem} -a {address} -s {port} -c 1"))
            .ok("connect");
    }
    let nguid = route["namespace"]["id"].as_str().unwrap();
    let look = format!(
        "for d in /sys/block/nvme[0-9]n[0-9]; do [ \"$(tr -d - <$d/nguid 2>/dev/null)\" = {nguid} ] && echo /dev/${{d##*/}} && exit 0; done; exit 1"
    );
    node.wait_for(&look, LIMIT).ok("the namespace").lines().next().unwrap().to_owned()
}
