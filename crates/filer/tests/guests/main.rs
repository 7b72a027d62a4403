//! Real clients against what `Access` makes a real kernel serve: one boot for all of it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at what it did not expect, aloud")]

mod deaths;
mod iscsi;
mod nfs;
mod nvme;
mod power;
mod storage;

use std::sync::{LazyLock, Mutex, PoisonError};

use rig::{Backend, Limit, Rig, Size, services};

/// Generous: the machine may be slow and loaded.
const LIMIT: Limit = Limit::from_secs(120);

static RIG: LazyLock<Rig> = LazyLock::new(|| {
    // The kernel that has all three wires at both ends.
    let rig = Rig::builder()
        .guest("storage", |g| g.memory(Size::mib(512)).disk(Size::gib(1)).disk(Size::mib(256)))
        .guest("node1", |g| g)
        .guest("node2", |g| g)
        .backend(Backend::Tcg);
    let rig = rig.up().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let storage = rig.guest("storage");
            storage
                .exec("modprobe btrfs; mkfs.btrfs -q /dev/vda && mkdir -p /srv/pool && mount /dev/vda /srv/pool")
                .ok("a pool")
        });
        for node in ["node1", "node2"] {
            scope.spawn(|| {
                services::nfs_client(rig.guest(node)).ok("a node that mounts NFS");
                services::block_client(rig.guest(node), "blacklist {\n devnode \".*\"\n}\n")
                    .ok("a block node");
            });
        }
    });
    rig
});

static TURN: Mutex<()> = Mutex::new(());

/// Gives a test its turn on the rig.
fn on_the_rig(test: fn(&Rig)) {
    if let Err(reason) = Rig::available(Backend::Tcg) {
        println!("skipped: {reason}");
        return;
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let _watch = RIG.watch();
    test(&RIG);
}
