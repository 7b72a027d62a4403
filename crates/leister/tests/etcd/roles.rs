//! Controllers and nodes, each with its own part.

use std::process::Command;

use crate::cluster::Cluster;
use crate::host::{PROGRAM, Site, said, until};
use crate::pools::may_make_pools;

#[test]
fn a_node_has_its_work_done_by_the_controller_and_never_leads() {
    if !may_make_pools() {
        return;
    }
    let (cluster, site) = (Cluster::of(1), Site::with_array());
    let endpoints = cluster.endpoint(0);
    let mut controller = site.start_as("controller", "c", &endpoints, &[]);
    let node = site.start_as("node", "n", &endpoints, &[]);
    assert_eq!(controller.ok(&["get", "nodes", "-o", "name"]), "node/n\n", "a controller uses no volumes");
    assert_eq!(node.ok(&["create", "volume", "v", "--size", "32MiB"]), "volume/v created\n");
    assert_eq!(controller.volumes(), ["volume/v"]);
    assert_eq!(node.leader().as_deref(), Some("c"));

    // The lease runs out, and the node takes it not.
    controller.kill();
    until("nobody leads", || node.leader().is_none());
    let refused = node.cli(&["create", "volume", "w", "--size", "32MiB", "--timeout", "3s"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert_eq!(node.volumes(), ["volume/v"], "what there is can still be seen");
    controller.start(&endpoints);
    until("the controller leads again", || node.leader().as_deref() == Some("c"));
    node.ok(&["delete", "volume", "v", "--yes"]);
    until("the array has nothing of it", || site.volumes().iter().all(|name| name == "t_w"));
}

#[test]
fn a_role_without_what_it_needs_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| {
        let state = ["--state-dir", folder.path().to_str().unwrap(), "--listen", "none"];
        said(Command::new(PROGRAM).args(words).args(state).output().unwrap())
    };
    let etcd = ["--store", "etcd", "--etcd-endpoints", "http://127.0.0.1:1"];
    for (words, parts) in [
        (vec!["node"], ["leads nothing", "leister csi"]),
        ([&["node"], &etcd[..]].concat(), ["where CSI is served", "--kubelet-dir"]),
        (vec!["csi"], ["where CSI is served", "--csi-endpoint"]),
        (vec!["controller", "--kubelet-dir", "/x"], ["--kubelet-dir", "unexpected argument"]),
        (
            vec!["csi", "--csi-endpoint", "unix:///run/x.sock", "--kubeconfig", "/x"],
            ["--kubeconfig is given", "--store kubernetes"],
        ),
        (vec!["node", "--pool", "/x"], ["--pool", "unexpected argument"]),
    ] {
        let refused = run(&words);
        assert_eq!(refused.code, 2, "{words:?}: {refused:?}");
        assert!(parts.iter().all(|part| refused.err.contains(part)), "{words:?}: {refused:?}");
    }
}
