//! Many volumes of all kinds at the same time.

use model::{Bytes, Filesystem, IscsiRoute, NamespaceId, NfsRoute, NvmeRoute, Route};
use rig::{Guest, services};
use serde_json::Value;
use wires::{Attach, Deed};

use crate::hands::{MOUNTS, attach, done, obey, volume};
use crate::{LIMIT, nvme, on_stock_rig};

fn routes(storage: &Guest) -> Vec<(String, Route)> {
    let portals = |port: u16| [0, 1].map(|link| format!("{}:{port}", storage.address(link))).to_vec();
    let mut routes = Vec::new();
    for n in 0..12 {
        let server = storage.address(0).to_string();
        let mount_options = vec!["vers=4.2".to_owned()];
        let route = NfsRoute { server, path: format!("/srv/n{n}"), mount_options };
        routes.push((format!("nfs{n}"), Route::Nfs(route)));
    }
    for n in 0..10 {
        let unit = IscsiRoute {
            target: "iqn.2026-01.test.rig:many".to_owned(),
            portals: portals(3260),
            lun: n,
            serial: format!("many-{n}"),
            chap: None,
        };
        routes.push((format!("iscsi{n}"), Route::Iscsi(unit)));
        let namespace = NvmeRoute {
            subsystem: "nqn.2026-01.test.rig:many".to_owned(),
            portals: portals(4420),
            namespace: NamespaceId::Nguid(format!("dddddddd00000000000000000000000{n}")),
        };
        routes.push((format!("nvme{n}"), Route::Nvme(namespace)));
    }
    routes
}

fn at_once(node: &Guest, deeds: Vec<Deed>) -> Vec<Value> {
    done(obey(node, Deed::AtOnce(deeds))).as_array().unwrap().clone()
}

#[track_caller]
fn all_done(answers: &[Value]) {
    for answer in answers {
        assert!(answer["answer"].get("done").is_some(), "{answer}");
    }
}

#[test]
fn thirty_two_volumes_come_and_go_at_once_and_a_target_that_hangs_delays_only_its_own() {
    on_stock_rig(|rig| {
        let (storage, node) = nvme::serve(rig);
        services::nfs_server(storage, "/srv").ok("server");
        services::nfs_client(node).ok("client");
        storage.exec_within(LIMIT, &nvme::with_addresses(storage, node, include_str!("many.sh"))).ok("many");
        storage
            .exec(
                "for d in /dev/mapper/[in][0-9]; do dd if=/dev/zero of=$d bs=1M conv=fsync 2>&1; done; true",
            )
            .ok("blank");
        storage.exec("exportfs -o rw,sync,no_root_squash,fsid=7 10.77.0.0/16:/srv").ok("export");
        let routes = routes(storage);
        let wanted = |(name, route): &(String, Route)| {
            let filesystem = Some(Filesystem::Ext4);
            Attach { filesystem, size: Bytes::mib(8), ..attach(name, route.clone(), &[]) }
        };
        let mut deeds: Vec<Deed> = routes.iter().map(|route| Deed::Attach(Box::new(wanted(route)))).collect();
        let hanging = IscsiRoute {
            target: "iqn.2026-01.test.rig:away".to_owned(),
            portals: vec!["10.77.0.250:3260".to_owned()],
            lun: 0,
            serial: "away".to_owned(),
            chap: None,
        };
        deeds.push(Deed::Attach(Box::new(wanted(&("away".to_owned(), Route::Iscsi(hanging))))));
        let mut answers = at_once(node, deeds);
        let away = answers.pop().unwrap();
        all_done(&answers);
        assert!(away["answer"]["failed"].is_object(), "{away}");
        let slowest = answers.iter().map(|answer| answer["ms"].as_u64().unwrap()).max().unwrap();
        println!("32 attaches took {slowest} ms, the one that hangs {} ms", away["ms"]);
        let names = || routes.iter().map(|(name, _)| name.clone());
        let reference = || "app".to_owned();
        all_done(&at_once(
            node,
            names().map(|n| Deed::Mount { volume: volume(&n), reference: reference() }).collect(),
        ));
        let write = format!(
            "for d in {MOUNTS}/*/app; do echo $d >$d/f || exit 1; done; /run/bb/sync; ls -d {MOUNTS}/*/app | wc -l"
        );
        assert_eq!(node.exec_within(LIMIT, &write).ok("write"), "32");
        let read = format!("for d in {MOUNTS}/*/app; do read said <$d/f; [ $said = $d ] || exit 1; done");
        node.exec_within(LIMIT, &read).ok("each has its own");
        all_done(&at_once(
            node,
            names().map(|n| Deed::Unmount { volume: volume(&n), reference: reference() }).collect(),
        ));
        all_done(&at_once(node, names().map(|n| Deed::Detach { volume: volume(&n) }).collect()));
        let strays =
            "for f in /sys/class/iscsi_session/* /sys/block/sd* /sys/block/dm-* /etc/iscsi/nodes/*; do
            [ ! -e $f ] || echo $f
        done; grep leister-mounts /proc/mounts";
        assert_eq!(node.exec(strays).stdout.trim(), "");
        nvme::nothing_is_left(node);
    });
}
