//! The guest that uses volumes, by the kernel's own clients.

use model::{IscsiRoute, NodeIdentity, NodeName, Route};
use rig::{Guest, services};

/// Generous: the machine may be slow and loaded.
pub(crate) const LIMIT: rig::Limit = rig::Limit::from_secs(100);

/// Finds the unit by its serial, in the one session that stays.
const UNIT: &str = include_str!("unit.sh");

/// Gives the guest what it needs for NFS and iSCSI.
pub(crate) fn prepare(guest: &Guest) {
    services::nfs_client(guest).ok("a node that mounts NFS");
    guest.exec("modprobe -q sd_mod; modprobe iscsi_tcp && iscsid").ok("a node that uses iSCSI");
}

/// The guest, and one that is nowhere.
pub(crate) fn identities(guest: &Guest) -> Vec<NodeIdentity> {
    let known = |name: &str, address: String| NodeIdentity {
        addresses: vec![address.parse().unwrap()],
        initiator: Some(format!("iqn.2024-01.test.rig:{name}")),
        ..NodeIdentity::named(NodeName::new(name).unwrap())
    };
    vec![known(guest.name(), guest.address(0).to_string()), known("elsewhere", "10.77.0.99".to_owned())]
}

/// An application on the node writes this number, so that it is durable.
pub(crate) fn write(node: &Guest, route: &Route, content: u64) {
    let script = match route {
        Route::Nfs(nfs) => mounted(&nfs.server, &nfs.path, &format!("echo {content} >c && sync c")),
        Route::Iscsi(unit) => attached(
            unit,
            &format!("printf '%-512s' {content} | dd of=$disk bs=512 oflag=direct conv=fsync status=none"),
        ),
        other => panic!("no route to another machine: {other:?}"),
    };
    node.exec_within(LIMIT, &script).ok("write");
}

/// What an application on the node reads; 0 of what was never written.
pub(crate) fn read(node: &Guest, route: &Route) -> u64 {
    let script = match route {
        Route::Nfs(nfs) => mounted(&nfs.server, &nfs.path, "[ ! -e c ] || cat c"),
        Route::Iscsi(unit) => {
            attached(unit, "dd if=$disk bs=512 count=1 iflag=direct status=none | /run/bb/tr -d '\\0 '")
        }
        other => panic!("no route to another machine: {other:?}"),
    };
    let said = node.exec_within(LIMIT, &script).ok("read");
    if said.trim().is_empty() { 0 } else { said.trim().parse().unwrap() }
}

fn mounted(server: &str, path: &str, work: &str) -> String {
    format!(
        // The kernel's own way, without the tools around it, which take most of the time in a guest.
        "PATH=/run/bb:$PATH; mkdir -p /m && mount -i -t nfs4 -o vers=4.2,addr={server} {server}:{path} /m || exit
        (cd /m && {work}); code=$?; umount /m || exit; exit $code"
    )
}

fn attached(unit: &IscsiRoute, work: &str) -> String {
    let IscsiRoute { target, portals, lun, serial, .. } = unit;
    let portal = &portals[0];
    format!(
        "target={target} portal={portal} lun={lun} serial={serial}\n{UNIT}\n({work}); code=$?\nrelease\nexit $code"
    )
}
