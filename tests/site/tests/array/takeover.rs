//! What others made: taken over with its data, and with what they wrote beside it.

use serde_json::{Value, json};
use site::{ArraySite, Host};

use crate::files::end;
use crate::{CHAP, on_array, on_site};

/// As Trident writes the labels of its pools.
const LABELS: &str = r#"{"provisioning":{"tier":"gold"}}"#;

#[test]
fn a_flexvol_of_tridents_and_one_made_by_hand_are_imported_and_read_from_both_hosts() {
    on_site(|site| {
        let [one, two] = site.hosts.each_ref();
        let rule = json!({"clients": [{"match": one.guest().address(0)}], "ro_rule": ["sys"],
            "rw_rule": ["sys"], "superuser": ["sys"]});
        let policy = json!({"svm": {"name": "svm1"}, "name": "trident-8e5d1f30", "rules": [rule]});
        tell(site, "POST", "/protocols/nfs/export-policies", &policy);
        for (volume, comment) in [("trident_pvc_0a1b", LABELS), ("byhand", "of a colleague")] {
            let wanted = json!({"svm": {"name": "svm1"}, "name": volume, "comment": comment, "size": 64 << 20,
                "aggregates": [{"name": "aggr1"}], "guarantee": {"type": "none"}, "snapshot_policy": {"name": "none"},
                "nas": {"path": format!("/{volume}"), "unix_permissions": 777,
                    "export_policy": {"name": "trident-8e5d1f30"}}});
            tell(site, "POST", "/storage/volumes", &wanted);
            let written = format!(
                "mount -t nfs -o nfsvers=4.1 {}:/{volume} /mnt && echo {volume} >/mnt/file && umount /mnt",
                site.array.data_address(0)
            );
            one.guest().exec_within(site::LIMIT, &written).ok("write by hand");
        }
        one.leister("import nas trident_pvc_0a1b --as pvc").ok("import Trident's");
        one.leister("import nas byhand --as hand").ok("import what was made by hand");
        assert_eq!(shown(one, "pvc")["labels"], json!({"tier": "gold"}));
        for (host, volume, kept) in [(one, "pvc", "trident_pvc_0a1b"), (two, "hand", "byhand")] {
            let read = "cat /data/file && echo more >>/data/file";
            assert_eq!(host.shell(volume, read).ok("read and write"), kept);
            assert_eq!(on_array(site, "/storage/volumes", kept), Vec::<String>::new());
        }
        let comments = site.array.ask("GET", "/storage/volumes?name=*pvc&fields=comment", None).unwrap();
        let comment: Value =
            serde_json::from_str(comments["records"][0]["comment"].as_str().unwrap()).unwrap();
        assert_eq!(comment["provisioning"], json!({"tier": "gold"}));
        for volume in ["pvc", "hand"] {
            end(site, volume, "/storage/volumes");
        }
        tell(site, "DELETE", "/protocols/nfs/export-policies?name=trident-8e5d1f30", &json!({}));
    });
}

#[test]
fn a_lun_of_tridents_is_imported_with_its_file_system_and_read_from_the_host_that_did_not_import_it() {
    on_site(|site| {
        let [one, two] = site.hosts.each_ref();
        let volume = json!({"svm": {"name": "svm1"}, "name": "trident_pvc_2c3d", "comment": LABELS, "size": 72 << 20,
            "aggregates": [{"name": "aggr1"}], "guarantee": {"type": "none"}, "snapshot_policy": {"name": "none"}});
        tell(site, "POST", "/storage/volumes", &volume);
        let attributes = [("com.netapp.ndvp.fstype", "ext4"), ("LUKS", "false"), ("context", "csi")];
        let attributes = attributes.map(|(name, value)| json!({"name": name, "value": value}));
        let lun = json!({"svm": {"name": "svm1"}, "name": "/vol/trident_pvc_2c3d/lun0", "os_type": "linux",
            "space": {"size": 64 << 20}, "attributes": attributes});
        tell(site, "POST", "/storage/luns", &lun);
        write_over_iscsi(site, one, "/vol/trident_pvc_2c3d/lun0", "kept");

        let found = one.leister("import san trident_pvc_2c3d --as old --dry-run").ok("look");
        assert!(found.contains("ext4"), "{found}");
        one.leister("import san trident_pvc_2c3d --as old").ok("import");
        let shown = shown(one, "old");
        assert_eq!((&shown["filesystem"], &shown["labels"]), (&json!("ext4"), &json!({"tier": "gold"})));
        assert_eq!(two.shell("old", "cat /data/file").ok("read on the other host"), "kept");
        end(site, "old", "/storage/volumes");
    });
}

#[test]
fn two_instances_on_one_host_see_each_its_own_volumes_and_take_none_of_the_others() {
    on_site(|site| {
        let (first, second) = (&site.hosts[0], site.beside());
        first.create("of-first", "-o backend=nas").ok("create");
        second.create("of-second", "").ok("create through the other driver");
        let copy = "run --rm --network none -v of-first:/a -v of-second:/b busybox \
            sh -c 'echo both >/a/file && cp /a/file /b/file && cat /b/file'";
        assert_eq!(first.docker(copy).ok("one container over both"), "both");
        for (host, own, other) in [(first, "of-first", "of-second"), (second, "of-second", "of-first")] {
            let seen = host.volumes();
            assert!(seen.contains(own) && !seen.contains(other), "{seen:?}");
            assert!(!host.leister(&format!("get volume {other}")).is_ok());
        }
        let refused = first.leister("import nas second_of_second --as mine");
        assert!(!refused.is_ok() && refused.stderr.contains("instance `second`"), "{refused:?}");
        first.docker("volume rm of-second").ok("rm through the engine");
        end(site, "of-first", "/storage/volumes");
        assert_eq!(on_array(site, "/storage/volumes", "of_second"), Vec::<String>::new());
    });
}

/// As whoever made it: an igroup of theirs, one path, a file system, and all of it gone again but the data.
fn write_over_iscsi(site: &ArraySite, host: &Host<'_>, lun: &str, content: &str) {
    let initiator =
        host.guest().exec("sed -n s/^InitiatorName=//p /etc/iscsi/initiatorname.iscsi").ok("name");
    let svm = json!({"name": "svm1"});
    let igroup = json!({"svm": svm, "name": "node1-8e5d1f30", "os_type": "linux", "protocol": "iscsi",
        "initiators": [{"name": initiator.trim()}]});
    tell(site, "POST", "/protocols/san/igroups", &igroup);
    let [user, word, target_user, target_word] = CHAP;
    let known = "/protocols/san/iscsi/credentials?initiator=default&svm.name=svm1";
    let chap = json!({"authentication_type": "chap", "chap": {"inbound": {"user": user, "password": word},
        "outbound": {"user": target_user, "password": target_word}}});
    tell(site, "PATCH", known, &chap);
    let map = json!({"svm": svm, "lun": {"name": lun}, "igroup": {"name": "node1-8e5d1f30"}});
    tell(site, "POST", "/protocols/san/lun-maps", &map);
    let services = site.array.ask("GET", "/protocols/san/iscsi/services?fields=target.name", None).unwrap();
    let (target, portal) =
        (services["records"][0]["target"]["name"].as_str().unwrap(), site.array.block_address());
    let script = format!(
        "set -e
        node() {{ iscsiadm -m node -T {target} -p {portal}:3260 \"$@\" >/dev/null; }}
        node -o new
        for setting in authmethod=CHAP username={user} password={word} username_in={target_user} \
            password_in={target_word}; do
            node -o update -n node.session.auth.${{setting%%=*}} -v ${{setting#*=}}
        done
        node --login
        device=/dev/disk/by-path/ip-{portal}:3260-iscsi-{target}-lun-0
        for _ in $(seq 300); do [ -b $device ] && break; /run/bb/sleep 0.1; done
        mkfs.ext4 -q $device && mount $device /mnt && echo {content} >/mnt/file && umount /mnt
        node --logout && node -o delete"
    );
    host.guest().exec_within(site::LIMIT, &script).ok("write by hand");
    let gone = "/protocols/san/igroups?name=node1-8e5d1f30&allow_delete_while_mapped=true";
    tell(site, "DELETE", gone, &json!({}));
    tell(site, "PATCH", known, &json!({"authentication_type": "none"}));
}

/// A volume as its host shows it.
#[track_caller]
fn shown(host: &Host<'_>, volume: &str) -> Value {
    serde_json::from_str(&host.leister(&format!("get volume {volume} -o json")).ok("get volume")).unwrap()
}

/// Makes a call and waits until it is done.
#[track_caller]
fn tell(site: &ArraySite, method: &str, path: &str, body: &Value) {
    let sign = if path.contains('?') { '&' } else { '?' };
    site.array.ask(method, &format!("{path}{sign}return_timeout=30"), Some(body)).unwrap();
}
