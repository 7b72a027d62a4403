//! A node's hands against a storage on the network: a few rigs, whose storages and nodes the tests use in turn.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at what it did not expect, aloud")]

mod chap;
mod hands;
mod healing;
mod inputs;
mod iscsi;
mod leaving;
mod luks;
mod many;
mod nfs;
mod nvme;
mod paths;
mod safety;

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use rig::{Backend, Limit, Rig, Size};

/// Generous: the machine may be slow and loaded.
const LIMIT: Limit = Limit::from_secs(300);

/// A rig, and whose turn it is.
struct Bench {
    rig: LazyLock<Rig>,
    turn: Mutex<()>,
}

/// Two: while one test waits for its storage another one can work.
static BENCHES: [Bench; 2] = [const { Bench::new(user_mode) }; 2];
/// With the kernel of Debian, which has NVMe.
static STOCK_BENCHES: [Bench; 2] = [const { Bench::new(stock) }; 2];

impl Bench {
    const fn new(up: fn() -> Rig) -> Bench {
        Bench { rig: LazyLock::new(up), turn: Mutex::new(()) }
    }
}

fn user_mode() -> Rig {
    let rig = Rig::builder()
        .guest("storage", |g| {
            // What the tests put aside lies in its memory.
            g.memory(Size::mib(512)).disk(Size::mib(256)).disk(Size::mib(128)).disk(Size::mib(128))
        })
        .guest("node1", |g| g.memory(Size::mib(384)))
        .up()
        .unwrap();
    iscsi::prepare(rig.guest("node1"));
    rig
}

fn stock() -> Rig {
    let rig = Rig::builder()
        .backend(Backend::Tcg)
        .guest("storage", |g| {
            g.memory(Size::mib(512)).disk(Size::mib(256)).disk(Size::mib(128)).disk(Size::mib(128))
        })
        .guest("node1", |g| g.memory(Size::mib(512)))
        .up()
        .unwrap();
    iscsi::prepare(rig.guest("node1"));
    rig
}

/// Gives a test its turn on a rig.
fn on_rig(test: impl FnOnce(&Rig)) {
    on(Backend::Uml, &BENCHES, test);
}

fn on_stock_rig(test: impl FnOnce(&Rig)) {
    on(Backend::Tcg, &STOCK_BENCHES, test);
}

fn on(backend: Backend, benches: &[Bench], test: impl FnOnce(&Rig)) {
    if let Err(reason) = Rig::available(backend) {
        println!("skipped: {reason}");
        return;
    }
    let (bench, _turn) = free(benches);
    let _watch = bench.rig.watch();
    test(&bench.rig);
}

/// The first that nobody has, or the turn on the last.
fn free(benches: &[Bench]) -> (&Bench, MutexGuard<'_, ()>) {
    let (last, others) = benches.split_last().unwrap();
    for bench in others {
        match bench.turn.try_lock() {
            Ok(turn) => return (bench, turn),
            // Whoever failed had the turn, and the next one may find all well.
            Err(std::sync::TryLockError::Poisoned(turn)) => return (bench, turn.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => {}
        }
    }
    (last, last.turn.lock().unwrap_or_else(PoisonError::into_inner))
}
