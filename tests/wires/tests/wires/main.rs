//! A node's hands against a storage on the network: one rig, whose storage and node the tests use in turn.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at what it did not expect, aloud")]

mod hands;
mod inputs;
mod iscsi;
mod luks;
mod nfs;
mod nvme;
mod safety;

use std::sync::{LazyLock, Mutex, PoisonError};

use rig::{Backend, Limit, Rig, Size};

/// Generous: the machine may be slow and loaded.
const LIMIT: Limit = Limit::from_secs(300);

static RIG: LazyLock<Rig> = LazyLock::new(|| {
    let rig = Rig::builder()
        .guest("storage", |g| {
            g.memory(Size::mib(256)).disk(Size::mib(256)).disk(Size::mib(128)).disk(Size::mib(128))
        })
        .guest("node1", |g| g.memory(Size::mib(384)));
    rig.up().unwrap()
});
static TURN: Mutex<()> = Mutex::new(());

/// With the kernel of Debian, which has NVMe.
static STOCK_RIG: LazyLock<Rig> = LazyLock::new(|| {
    let rig = Rig::builder()
        .backend(Backend::Tcg)
        .guest("storage", |g| {
            g.memory(Size::mib(512)).disk(Size::mib(256)).disk(Size::mib(128)).disk(Size::mib(128))
        })
        .guest("node1", |g| g.memory(Size::mib(512)));
    rig.up().unwrap()
});
static STOCK_TURN: Mutex<()> = Mutex::new(());

/// Gives a test its turn on the rig.
fn on_rig(test: impl FnOnce(&Rig)) {
    on(Backend::Uml, &RIG, &TURN, test);
}

fn on_stock_rig(test: impl FnOnce(&Rig)) {
    on(Backend::Tcg, &STOCK_RIG, &STOCK_TURN, test);
}

fn on(backend: Backend, rig: &LazyLock<Rig>, turn: &Mutex<()>, test: impl FnOnce(&Rig)) {
    if let Err(reason) = Rig::available(backend) {
        println!("skipped: {reason}");
        return;
    }
    // Whoever failed had the turn, and the next one may find all well.
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    let _watch = rig.watch();
    test(rig);
}
