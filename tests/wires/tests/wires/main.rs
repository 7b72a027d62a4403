//! A node's hands against a storage on the network: one rig, whose storage and node the tests use in turn.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at what it did not expect, aloud")]

mod hands;
mod iscsi;
mod luks;
mod nfs;
mod safety;

use std::sync::{LazyLock, Mutex, PoisonError};

use rig::{Backend, Limit, Rig, Size};

/// Generous: the machine may be slow and loaded.
const LIMIT: Limit = Limit::from_secs(120);

static RIG: LazyLock<Rig> = LazyLock::new(|| {
    let rig = Rig::builder()
        .guest("storage", |g| {
            g.memory(Size::mib(256)).disk(Size::mib(256)).disk(Size::mib(128)).disk(Size::mib(128))
        })
        .guest("node1", |g| g.memory(Size::mib(256)));
    rig.up().unwrap()
});
static TURN: Mutex<()> = Mutex::new(());

/// Gives a test its turn on the rig.
fn on_rig(test: impl FnOnce(&Rig)) {
    if let Err(reason) = Rig::available(Backend::Uml) {
        println!("skipped: {reason}");
        return;
    }
    // Whoever failed had the turn, and the next one may find all well.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let _watch = RIG.watch();
    test(&RIG);
}
