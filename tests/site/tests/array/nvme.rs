//! Namespaces over NVMe/TCP, which user-mode Linux lacks: machines in software, without an engine, whose words to the
//! plugin are said by hand.

use std::path::Path;

use filer_suite::{Node, NodeSpec, Simulator};
use rig::{Backend, Rig, Size};

use crate::DEFAULTS;

#[test]
fn a_namespace_is_mounted_grown_while_mounted_and_deleted() {
    if let Err(reason) = Rig::available(Backend::Tcg) {
        println!("skipped: {reason}");
        return;
    }
    if !Path::new("/usr/sbin/exportfs").exists() {
        println!("skipped: exportfs is not installed");
        return;
    }
    let rig = Rig::builder()
        .backend(Backend::Tcg)
        .guest("storage", |g| g.memory(Size::mib(512)).disk(Size::gib(2)).disk(Size::mib(128)))
        .guest("node1", |g| g.memory(Size::mib(512)))
        .up()
        .unwrap();
    let array = Simulator::up(&rig, "storage", "nvme").unwrap();
    let backend = array.backend("ontap-san", "nvme", &format!("sanType: nvme\n{DEFAULTS}"));
    let spec = NodeSpec { arguments: "--listen none".to_owned(), ..NodeSpec::new("node") };
    let node = Node::over(&rig, "node1", spec, &[("nvme".to_owned(), backend)]).unwrap();
    node.create("space", &[("size", "64MiB"), ("fileSystemType", "ext4")]);
    let place = node.mount("space", "c1");
    node.exec(&format!("echo kept >{place}/file && sync")).ok("write");
    let size = || {
        let said = node.exec(&format!("df -k --output=size {place} | tail -1")).ok("df");
        said.trim().parse::<u64>().unwrap()
    };
    let before = size();
    node.cli("grow space 256MiB").unwrap().ok("grow");
    site::wait("the file system has grown", || size() > 3 * before);
    node.unmount("space", "c1");
    node.cli("snapshot space now").unwrap().ok("snapshot");
    let place = node.mount("space", "c2");
    assert_eq!(node.exec(&format!("cat {place}/file")).ok("read"), "kept");
    node.exec(&format!("echo lost >{place}/file && sync")).ok("write again");
    node.unmount("space", "c2");
    node.cli("restore space now --yes").unwrap().ok("restore");
    let place = node.mount("space", "c3");
    assert_eq!(node.exec(&format!("cat {place}/file")).ok("read"), "kept");
    node.unmount("space", "c3");
    node.cli("delete snapshot space/now --yes").unwrap().ok("delete the snapshot");
    node.remove("space");
}
