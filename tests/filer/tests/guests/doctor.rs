//! What `leister doctor` says of a node, and what a node says of what it is given: of whole instances.

use filer_suite::{Node, program};
use rig::Limit;

use crate::stage::{Stage, on_stage};

const LIMIT: Limit = Limit::from_secs(120);

/// What the doctor of a node says when something was done there, which is undone then.
fn doctor(node: &Node<'_>, what: &str, deed: &str, undo: &str) -> String {
    node.exec(deed).ok(what);
    let said = node.cli("doctor").unwrap();
    node.exec(undo).ok("it is undone");
    assert!(!said.is_ok(), "{what}: {said:?}");
    said.stdout
}

#[track_caller]
fn is_well(node: &Node<'_>) {
    let said = node.cli("doctor").unwrap();
    assert_eq!(said.stdout.trim(), "nothing is wrong", "{said:?}");
}

#[test]
fn the_doctor_names_what_a_node_lacks_and_finds_nothing_on_one_that_is_well() {
    on_stage(|Stage { node1: node, .. }| {
        is_well(node);
        let tools = ["mount.nfs", "iscsiadm", "iscsid", "multipath", "multipathd"];
        let move_all = |from: &str, to: &str| {
            tools.map(|tool| format!("mv /sbin/{tool}{from} /sbin/{tool}{to}")).join(" && ")
        };
        let said = doctor(node, "tools go", &move_all("", ".away"), &move_all(".away", ""));
        for (tool, package) in tools.into_iter().zip([
            "nfs-common",
            "open-iscsi",
            "open-iscsi",
            "multipath-tools",
            "multipath-tools",
        ]) {
            let told = said.lines().find(|line| line.contains(&format!(": {tool} ")));
            assert!(
                told.is_some_and(|line| line.contains("not installed") && line.contains(package)),
                "{tool}: {said}"
            );
        }
        let said = doctor(node, "a module goes", "rmmod iscsi_tcp", "modprobe iscsi_tcp");
        assert!(said.contains("modprobe iscsi_tcp"), "{said}");
        for (setting, shown) in [("no", "off"), ("greedy", "greedy")] {
            let set = |setting: &str| {
                format!(
                    "sed -i 's/find_multipaths .*/find_multipaths {setting}/' /etc/multipath.conf && multipathd reconfigure"
                )
            };
            let said = doctor(node, setting, &set(setting), &set("strict"));
            assert!(
                said.contains(&format!("find_multipaths is `{shown}`")) && said.contains("strict"),
                "{said}"
            );
        }
        is_well(node);
    });
}

/// Another instance on a node for as long as this lives, with records of its own and no port.
struct Beside<'n> {
    node: &'n Node<'n>,
    name: &'static str,
}

impl<'n> Beside<'n> {
    fn start(node: &'n Node<'n>, name: &'static str, words: &str) -> Beside<'n> {
        let program = program().unwrap();
        let script = format!(
            "setsid -f sh -c 'echo $$ >/run/{name}.pid; exec {} run --name {name} --listen none {words}' \
                </dev/null >>/rig/{name}.log 2>&1",
            program.display()
        );
        node.exec(&script).ok(name);
        Beside { node, name }
    }

    /// What a verb says, when these words are in it.
    #[track_caller]
    fn says(&self, verb: &str, part: &str) -> String {
        let words = format!("{verb} --server unix:///run/leister/{}.sock", self.name);
        let program = program().unwrap();
        let look = format!("{} {words} >/run/said 2>&1; grep -q '{part}' /run/said", program.display());
        let found = self.node.guest().wait_for(&look, LIMIT).is_ok();
        let said = self.node.exec(&format!("cat /run/said; tail -5 /rig/{}.log", self.name)).stdout;
        assert!(found, "{verb} of {}: no `{part}` in {said}", self.name);
        said
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        let end = format!(
            "kill $(cat /run/{0}.pid); while kill -0 $(cat /run/{0}.pid) 2>/dev/null; do /run/bb/sleep 0.1; done",
            self.name
        );
        drop(self.node.exec(&end));
    }
}

#[test]
fn nodes_that_storage_cannot_tell_apart_are_named_by_the_doctor_of_both() {
    on_stage(|Stage { filer, node1, node2 }| {
        let url = format!("http://{}:2379", filer.guest().address(0));
        let etcd = format!(
            "rm -rf /run/etcd; setsid -f sh -c 'echo $$ >/run/etcd.pid; exec etcd --data-dir /run/etcd --unsafe-no-fsync \
                --listen-client-urls {url} --advertise-client-urls {url} --log-level error' </dev/null >/rig/etcd.log 2>&1"
        );
        filer.exec(&etcd).ok("etcd");
        let healthy = format!("ETCDCTL_API=3 etcdctl --endpoints {url} endpoint health");
        filer.guest().wait_for(&healthy, LIMIT).ok("etcd answers");
        let words = format!("--store etcd --etcd-endpoints {url}");
        let nqn = "nqn.2014-08.org.nvmexpress:uuid:1b4e28ba-2fa1-11d2-883f-0016d3cca427";
        for node in [node1, node2] {
            node.exec(&format!("mkdir -p /etc/nvme; echo {nqn} >/etc/nvme/hostnqn")).ok("an NVMe name");
        }
        let own = "cp /etc/iscsi/initiatorname.iscsi /run/own
            echo InitiatorName=iqn.2024-01.test.rig:node1 >/etc/iscsi/initiatorname.iscsi";
        node2.exec(own).ok("as after copying a machine");
        let (first, second) = (Beside::start(node1, "pair", &words), Beside::start(node2, "pair", &words));
        for instance in [&first, &second] {
            for name in ["iqn.2024-01.test.rig:node1", nqn] {
                let said = instance.says("doctor", &format!("they have one name, {name}"));
                assert!(said.contains("nodes node1, node2") && said.contains("iscsi-iname"), "{said}");
            }
        }
        drop(second);
        node2.exec("cp /run/own /etc/iscsi/initiatorname.iscsi; rm /etc/nvme/hostnqn").ok("names of its own");
        let second = Beside::start(node2, "pair", &words);
        for instance in [&first, &second] {
            instance.says("doctor", "^nothing is wrong$");
        }
        drop((first, second));
        node1.exec("rm /etc/nvme/hostnqn").ok("no NVMe name");
        filer.exec("kill $(cat /run/etcd.pid)").ok("etcd ends");
    });
}

#[test]
fn a_clock_that_is_wrong_is_told_as_such_where_certificates_are_not_valid() {
    on_stage(|Stage { filer, node2: node, .. }| {
        let now = "date +%s";
        let before = node.exec(now).ok("now");
        let config = "--config /etc/leister/backends";
        for (date, part) in [("2020-01-01", "set the clock"), ("2040-01-01", "the clock")] {
            node.exec(&format!("date -s {date}")).ok("a clock that is wrong");
            let skewed = Beside::start(node, "skewed", config);
            let said = skewed.says("doctor", part);
            println!("on {date}: {said}");
            assert!(said.contains(&date[..4]) && said.contains("client.crt"), "{said}");
            drop(skewed);
            node.exec(&format!("date -s @{}", before.trim())).ok("the clock is set");
        }
        filer.exec("date -s 2040-01-01").ok("the storage's clock is wrong");
        let skewed = Beside::start(node, "skewed", config);
        let said = skewed.says("doctor", "clocks of the two machines");
        filer.exec(&format!("date -s @{}", before.trim())).ok("the clock is set");
        println!("of a storage in 2040: {said}");
        skewed.says("doctor", "^nothing is wrong$");
    });
}

#[test]
fn a_node_whose_nvme_name_is_too_long_does_not_start_and_says_how_long_it_may_be() {
    on_stage(|Stage { node2: node, .. }| {
        let name = format!("nqn.2014-08.org.test:{}", "a".repeat(203));
        node.guest().put("/etc/nvme/hostnqn", &name).unwrap();
        let words = format!("{} run --name long --listen none", program().unwrap().display());
        let said = node.exec(&words);
        node.exec("rm /etc/nvme/hostnqn; ! [ -e /var/lib/leister/long ]").ok("nothing has been made");
        assert!(
            !said.is_ok() && said.stderr.contains("224 bytes") && said.stderr.contains("at most 223"),
            "{said:?}"
        );
        assert!(said.stderr.contains("/etc/nvme/hostnqn"), "{said:?}");
    });
}
