use model::Bytes;
use rig::Guest;
use serde_json::{Value, json};

use crate::storage::{TARGET, apply, clients, digest, permit, run, serve, settings, volume, writer};
use crate::{LIMIT, on_the_rig};

#[test]
fn iscsi_units_are_mapped_by_permit_grow_and_are_fenced_while_others_go_on() {
    on_the_rig(|rig| {
        let (storage, node1, node2) = (rig.guest("storage"), rig.guest("node1"), rig.guest("node2"));
        storage.exec("truncate -s 64M /srv/pool/unit.img").ok("a volume");
        let of = |permits: &[_], size| {
            volume("unit", "iscsi", json!({ "image": "/srv/pool/unit.img" }), Bytes::mib(size), permits)
        };
        let both = of(&[permit(rig, "node1"), permit(rig, "node2")], 64);
        let (changed, routes) = serve(rig, &both);
        assert!(changed && routes[0]["portals"].as_array().unwrap().len() == 2, "{routes:?}");
        assert!(!serve(rig, &both).0, "the second time changes nothing");
        let (disk1, disk2) = (log_in(node1, &routes[0]), log_in(node2, &routes[1]));

        storage.exec("truncate -s 96M /srv/pool/unit.img").ok("larger");
        apply(rig, "grown", json!([["unit", Bytes::mib(96)]]));
        let bytes = 96 << 20;
        node1
            .wait_for(
                &format!("iscsiadm -m session -R >/dev/null; [ $(blockdev --getsize64 {disk1}) = {bytes} ]"),
                LIMIT,
            )
            .ok("it grew");

        let going = writer(node1, &disk1);
        let one = "dd if=/srv/pool/unit.img bs=4k count=1 status=none | tr -d '\\0' | grep -q x";
        storage.wait_for(one, LIMIT).ok("it writes");
        serve(rig, &of(&[permit(rig, "node2")], 96));
        let then = digest(rig, "/srv/pool/unit.img");
        let ended = going.wait(LIMIT);
        assert!(ended.stderr.contains("error"), "it went on: {ended:?}");
        let again =
            node1.exec_within(LIMIT, &format!("dd if=/dev/urandom of={disk1} bs=4k count=1 oflag=direct"));
        assert!(!again.is_ok(), "it writes");
        assert_eq!(digest(rig, "/srv/pool/unit.img"), then, "written after the fence");
        let write = format!("echo second | dd of={disk2} bs=512 conv=sync oflag=direct seek=8");
        node2.exec_within(LIMIT, &write).ok("the other node goes on");
        assert_ne!(digest(rig, "/srv/pool/unit.img"), then);

        assert!(serve(rig, &both).0);
        node1
            .wait_for(
                &format!(
                    "iscsiadm -m session -R >/dev/null; dd if={disk1} of=/dev/null bs=4k count=1 iflag=direct"
                ),
                LIMIT,
            )
            .ok("permitted again, it goes on in the same session");
        for node in [node1, node2] {
            node.exec_within(LIMIT, &format!("iscsiadm -m node -T {TARGET} --logout")).ok("logout");
        }
        assert!(serve(rig, &of(&[], 96)).0);
        storage
            .exec("! grep -r . /sys/kernel/config/target/core/fileio_5407/*/info")
            .ok("nothing holds the image");
        let (_, again) = serve(rig, &both);
        assert_eq!(again, routes, "another volume for the nodes");
        apply(rig, "withdraw", json!(["unit"]));
        assert!(clients(rig, "unit").is_empty());
        let left =
            storage.exec("cd /sys/kernel/config/target; ls core/fileio_5407 iscsi/*/tpgt_1/lun").ok("left");
        assert!(!left.contains("lun_"), "{left}");
    });
}

#[test]
fn iscsi_read_only_units_cannot_be_written_and_chap_is_asked_for_both_ways() {
    on_the_rig(|rig| {
        let node = rig.guest("node1");
        let mut settings = settings(rig);
        settings["iscsi"]["chap"] = json!({
            "initiator": { "user": "node", "secret": "secret-of-the-node" },
            "target": { "user": "filer", "secret": "secret-of-the-filer" },
        });
        let mut reader = permit(rig, "node1");
        reader.read_only = true;
        let unit = volume("device", "iscsi", json!({ "device": "/dev/vdb" }), Bytes::mib(256), &[reader]);
        let said = run(rig, &json!({ "settings": settings, "serve": [unit] })).ok("serve");
        let said: Value = serde_json::from_str(&said).unwrap();
        let route = &said["served"][0]["granted"][0]["route"];
        assert_eq!(route["chap"]["target"]["user"], "filer");
        record(node, route);
        let login = format!("iscsiadm -m node -T {TARGET} --login");
        assert!(!node.exec_within(LIMIT, &login).is_ok(), "it came in without a secret");
        for (key, value) in [
            ("authmethod", "CHAP"),
            ("username", "node"),
            ("password", "secret-of-the-node"),
            ("username_in", "filer"),
            ("password_in", "secret-of-the-filer"),
        ] {
            node.exec(&format!(
                "iscsiadm -m node -T {TARGET} -o update -n node.session.auth.{key} -v {value}"
            ))
            .ok(key);
        }
        let disk = log_in(node, route);
        assert_eq!(node.exec(&format!("blockdev --getro {disk}")).ok("read-only"), "1");
        node.exec_within(LIMIT, &format!("iscsiadm -m node -T {TARGET} --logout")).ok("logout");
        run(rig, &json!({ "settings": settings, "withdraw": ["device"] })).ok("withdraw");
        node.exec(&format!("iscsiadm -m node -T {TARGET} -o delete")).ok("tidy");
    });
}

fn record(node: &Guest, route: &Value) {
    for portal in route["portals"].as_array().unwrap() {
        let portal = portal.as_str().unwrap();
        node.exec(&format!("iscsiadm -m node -T {TARGET} -p {portal} -o new")).ok("record");
    }
}

/// The device that the unit's serial proves, by the first portal.
pub(crate) fn log_in(node: &Guest, route: &Value) -> String {
    if !node.exec(&format!("iscsiadm -m node -T {TARGET}")).is_ok() {
        record(node, route);
    }
    node.exec_within(LIMIT, &format!("iscsiadm -m node -T {TARGET} --login")).ok("login");
    unit(node, route)
}

/// Of a session that is there.
pub(crate) fn unit(node: &Guest, route: &Value) -> String {
    let serial = route["serial"].as_str().unwrap();
    let look = format!(
        "for d in /sys/block/sd*; do grep -qa {serial} $d/device/vpd_pg80 && echo /dev/${{d##*/}} && exit 0; done; exit 1"
    );
    node.wait_for(&look, LIMIT).ok("the unit").lines().next().unwrap().to_owned()
}
