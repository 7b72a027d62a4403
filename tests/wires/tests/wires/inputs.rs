//! What cannot work on a node: each refused with what is wrong and the way out, and nothing left.

use model::{IscsiRoute, NfsRoute, Route};
use rig::Guest;
use wires::{Answer, Attach, Deed};

use crate::hands::{self, detach, done, failed, mount, obey, unmount};
use crate::iscsi::{OPEN, nothing_is_left, serve, unit, wanted};
use crate::{LIMIT, on_rig};

fn attach(node: &Guest, route: IscsiRoute, options: &[&str]) -> Answer {
    let mount_options = options.iter().map(|option| (*option).to_owned()).collect();
    obey(node, Deed::Attach(Box::new(Attach { mount_options, ..wanted("a", route) })))
}

#[track_caller]
fn told(node: &Guest, what: &str, answer: Answer, parts: &[&str]) {
    let (kind, text) = failed(answer);
    println!("{what}: {kind}: {text}");
    assert!(parts.iter().all(|part| text.contains(part)), "{what}: {parts:?} in {kind}: {text}");
    nothing_is_left(node);
}

#[test]
fn a_portal_or_a_name_that_is_wrong_is_told_with_what_to_look_at() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let route = || unit(storage, OPEN, &[0], 0, "rig-unit-a");
        let portals = vec![format!("{}:3261", storage.address(0))];
        let closed = attach(node, IscsiRoute { portals, ..route() }, &[]);
        told(node, "a portal that refuses", closed, &[":3261", "does not answer", "right address and port"]);
        let target = "iqn.2026-01.test.rig:absent".to_owned();
        let absent = attach(node, IscsiRoute { target, ..route() }, &[]);
        told(node, "a target that is not there", absent, &["rig:absent", "shows this node no target"]);
        for (options, named) in
            [("bind", "bind"), ("offset=4096", "offset=4096"), ("nosuchoption", "nosuchoption")]
        {
            told(node, options, attach(node, route(), &[options]), &[named]);
        }
    });
}

#[test]
fn a_tool_or_a_part_of_the_kernel_that_is_missing_is_named_with_where_to_get_it() {
    on_rig(|rig| {
        let (storage, node) = serve(rig);
        let route = |links| unit(storage, OPEN, links, 0, "rig-unit-a");
        for (tool, links, package) in
            [("iscsiadm", &[0][..], "open-iscsi"), ("multipath", &[0, 1], "multipath-tools")]
        {
            node.exec(&format!("mv /sbin/{tool} /sbin/{tool}.away")).ok("the tool goes");
            let answer = attach(node, route(links), &[]);
            node.exec(&format!("mv /sbin/{tool}.away /sbin/{tool}")).ok("the tool comes back");
            told(node, tool, answer, &[tool, package]);
        }
        let nfs = || {
            let (server, path) = (storage.address(0).to_string(), "/srv/v".to_owned());
            let route = NfsRoute { server, path, mount_options: Vec::new() };
            obey(node, Deed::Attach(Box::new(hands::attach("v", Route::Nfs(route), &[]))))
        };
        let iscsi = || attach(node, route(&[0]), &[]);
        for (modules, try_it) in [("iscsi_tcp", &iscsi as &dyn Fn() -> Answer), ("nfs", &nfs)] {
            let away = format!(
                "for m in nfsv4 nfsv3 {modules}; do ! grep -q ^$m /proc/modules || rmmod $m; done
                echo 'install {modules} /bin/false' >/etc/modprobe.d/away.conf"
            );
            node.exec_within(LIMIT, &away).ok("the module goes");
            let answer = try_it();
            node.exec_within(LIMIT, &format!("rm /etc/modprobe.d/away.conf; modprobe {modules}"))
                .ok("the module comes back");
            told(node, modules, answer, &[&format!("modprobe {modules}"), "linux-image"]);
        }
        done(attach(node, route(&[0]), &[]));
        mount(node, "a", "app");
        unmount(node, "a", "app");
        done(detach(node, "a"));
    });
}
