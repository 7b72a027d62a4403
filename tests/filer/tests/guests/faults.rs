//! What nodes write is there whatever happens to the storage host, and what they may reach comes back.

use filer_suite::{Node, Writer, Written};
use rig::Limit;

use crate::stage::{Stage, on_stage};

/// Generous: the machine may be slow and loaded.
const LIMIT: Limit = Limit::from_secs(120);

/// A file and a block volume in use, each written without end.
struct InUse {
    volumes: [String; 2],
    writers: [Writer<'static>; 2],
}

impl InUse {
    fn start(node: &Node<'static>, name: &str) -> Self {
        let volumes = [format!("{name}-files"), format!("{name}-blocks")];
        node.create(&volumes[0], &[("size", "64MiB")]);
        node.create(&volumes[1], &[("size", "64MiB"), ("fstype", "ext4")]);
        let writers = volumes.each_ref().map(|volume| {
            let point = node.mount(volume, "app");
            Writer::start(node.guest(), volume, &format!("{point}/numbers")).unwrap()
        });
        Self { volumes, writers }
    }

    fn acknowledged(&self) -> [u64; 2] {
        self.writers.each_ref().map(Writer::acknowledged)
    }

    #[track_caller]
    fn go_on_after(&self, numbers: [u64; 2]) {
        for (writer, number) in self.writers.iter().zip(numbers) {
            writer.goes_on_after(number);
        }
    }

    /// Nothing acknowledged is lost; how many errors each application saw.
    #[track_caller]
    fn end(self, node: &Node<'static>) -> [u64; 2] {
        for writer in &self.writers {
            // What an application sees: docs/filer.md says it.
            print!("{}", writer.errors_said());
        }
        let written: [Written; 2] = self.writers.map(Writer::end);
        println!("{written:?}");
        for (volume, written) in self.volumes.iter().zip(&written) {
            assert_eq!(written.lost, 0, "{volume}: {written:?}");
            node.unmount(volume, "app");
            node.remove(volume);
        }
        written.map(|written| written.errors)
    }
}

#[test]
fn io_goes_on_while_the_filer_is_killed_and_comes_back() {
    on_stage(|Stage { filer, node1: node, .. }| {
        let in_use = InUse::start(node, "killed");
        filer.kill();
        in_use.go_on_after(in_use.acknowledged());
        filer.start().unwrap();
        in_use.go_on_after(in_use.acknowledged());
        assert_eq!(in_use.end(node), [0, 0], "an application saw an error");
    });
}

#[test]
fn after_a_loss_of_power_everything_is_served_again_before_the_filer_is_ready_and_nothing_is_lost() {
    on_stage(|Stage { filer, node1: node, .. }| {
        let in_use = InUse::start(node, "power");
        in_use.go_on_after(in_use.acknowledged());
        let storage = filer.guest();
        storage.kill().unwrap();
        storage.start().unwrap();
        filer.prepare().unwrap();
        filer.start().unwrap();
        let served = filer.exec(
            "grep power-files /var/lib/nfs/etab && ls /sys/kernel/config/target/iscsi/*/tpgt_1/acls/*/lun_*/write_protect",
        );
        let served = served.ok("what was served is served");
        assert!(served.contains("10.77.0.12(") && served.contains(":node1/"), "{served}");
        in_use.go_on_after(in_use.acknowledged());
        in_use.end(node);
    });
}

#[test]
fn what_is_removed_by_hand_comes_back_and_what_others_made_stays() {
    on_stage(|Stage { filer, node1: node, .. }| {
        let in_use = InUse::start(node, "drift");
        let foreign = "mkdir -p /srv/foreign && exportfs -i -o rw,fsid=99 192.0.2.1:/srv/foreign
            cd /sys/kernel/config/target && mkdir -p core/fileio_9/other iscsi/iqn.2001-01.com.example:other/tpgt_1
            truncate -s 1M /srv/foreign/unit && echo fd_dev_name=/srv/foreign/unit,fd_dev_size=1048576 >core/fileio_9/other/control
            echo 1 >core/fileio_9/other/enable";
        filer.exec(foreign).ok("what somebody else serves");
        let group = "/sys/kernel/config/target/iscsi/iqn.2026-01.io.leister:storage/tpgt_1";
        let export = "10.77.0.12:/leister/tenant.leister_drift-files";
        for (what, by_hand, back) in [
            (
                "an export",
                format!("exportfs -u {export}"),
                "grep -P 'drift-files\\t10.77.0.12\\(' /var/lib/nfs/etab".to_owned(),
            ),
            (
                "a unit's map and its ACL",
                format!("cd {group}/acls/*:node1 && rm lun_*/volume && rmdir lun_* && rmdir $PWD"),
                format!("ls {group}/acls/*:node1/lun_*/volume"),
            ),
            (
                "the target's readiness",
                format!("echo 0 >{group}/enable"),
                format!("[ $(cat {group}/enable) = 1 ]"),
            ),
            (
                "nfsd and mountd",
                "rpc.nfsd 0 && kill $(pidof rpc.mountd)".to_owned(),
                "pidof rpc.mountd && [ $(cat /proc/fs/nfsd/threads) -gt 0 ]".to_owned(),
            ),
        ] {
            filer.exec(&format!("({by_hand}) && ! ({back})")).ok(what);
            filer.guest().wait_for(&back, LIMIT).ok("it is back");
            in_use.go_on_after(in_use.acknowledged());
        }
        let table = filer.exec("cat /var/lib/nfs/etab").ok("table");
        assert!(table.contains("192.0.2.1(") && table.contains("drift-files"), "{table}");
        let foreign = "cd /sys/kernel/config/target && cat core/fileio_9/other/enable && ls iscsi";
        let left = filer.exec(foreign).ok("foreign");
        assert!(left.starts_with('1') && left.contains("com.example:other"), "{left}");
        let undo = "exportfs -u 192.0.2.1:/srv/foreign; cd /sys/kernel/config/target
            rmdir iscsi/iqn.2001-01.com.example:other/tpgt_1 iscsi/iqn.2001-01.com.example:other core/fileio_9/other";
        filer.exec(undo).ok("undo");
        in_use.end(node);
    });
}
