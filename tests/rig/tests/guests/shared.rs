//! One rig for each backend, which the tests of that backend use one after another.

use std::sync::{LazyLock, Mutex, PoisonError};

use rig::{Backend, Rig, Size};

use crate::can_run;

struct Shared {
    rig: LazyLock<Rig>,
    turn: Mutex<()>,
}

static UML: Shared = Shared { rig: LazyLock::new(|| up(Backend::Uml)), turn: Mutex::new(()) };
static TCG: Shared = Shared { rig: LazyLock::new(|| up(Backend::Tcg)), turn: Mutex::new(()) };

/// Gives a test its turn on the rig of a backend.
pub(crate) fn on(backend: Backend, test: fn(&Rig)) {
    if !can_run(backend) {
        return;
    }
    let shared = match backend {
        Backend::Uml => &UML,
        Backend::Tcg => &TCG,
    };
    // Whoever failed had the turn, and the next one may find all well.
    let _turn = shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let _watch = shared.rig.watch();
    test(&shared.rig);
}

fn up(backend: Backend) -> Rig {
    let rig = Rig::builder()
        .guest("storage", |g| g.memory(Size::mib(256)).disk(Size::mib(64)))
        .guest("node1", |g| g.memory(Size::mib(256)))
        .backend(backend);
    rig.up().unwrap()
}
