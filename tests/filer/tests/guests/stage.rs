//! The rig that the tests use in turn.

use std::sync::{LazyLock, Mutex, PoisonError};

use filer_suite::{Filer, FilerSpec, Node, NodeSpec};
use rig::{Backend, Rig, Size};

/// The filer and two hosts of one tenant, each with records of its own.
pub(crate) struct Stage {
    pub(crate) filer: Filer<'static>,
    pub(crate) node1: Node<'static>,
    pub(crate) node2: Node<'static>,
}

/// Where the nodes look for passphrases.
pub(crate) const SECRETS: &str = "/etc/leister/luks";

static RIG: LazyLock<Rig> = LazyLock::new(|| {
    let rig = Rig::builder()
        .guest("storage", |g| g.memory(Size::mib(512)).disk(Size::gib(4)).disk(Size::mib(128)))
        .guest("node1", |g| g)
        .guest("node2", |g| g);
    rig.up().unwrap()
});

static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    let rig = &*RIG;
    let filer = Filer::up(rig, "storage", FilerSpec::default()).unwrap();
    let (node1, node2) = std::thread::scope(|scope| {
        let up = |name: &'static str| {
            let filer = &filer;
            let spec = NodeSpec { arguments: format!("--luks-secrets {SECRETS}"), ..NodeSpec::new("tenant") };
            scope.spawn(move || Node::up(rig, name, filer, spec).unwrap())
        };
        let (first, second) = (up("node1"), up("node2"));
        (first.join().unwrap(), second.join().unwrap())
    });
    Stage { filer, node1, node2 }
});

static TURN: Mutex<()> = Mutex::new(());

/// Gives a test its turn on the rig.
pub(crate) fn on_stage(test: impl FnOnce(&Stage)) {
    if let Err(reason) = Rig::available(Backend::Uml) {
        println!("skipped: {reason}");
        return;
    }
    // Whoever failed had the turn, and the next one may find all well.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let _watch = RIG.watch();
    test(&STAGE);
}
