//! Hosts with containers over one storage: one site, whose hosts the tests use in turn.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at what it did not expect, aloud")]

mod fences;
mod races;
mod records;
mod restarts;
mod sharing;

use std::sync::{LazyLock, Mutex, PoisonError};

use rig::Rig;
use site::Site;

static RIG: LazyLock<Rig> = LazyLock::new(|| Site::boot().unwrap());
static SITE: LazyLock<Site> = LazyLock::new(|| Site::up(&RIG).unwrap());
static TURN: Mutex<()> = Mutex::new(());

/// Gives a test its turn on the site.
fn on_site(test: impl FnOnce(&Site)) {
    if let Some(reason) = Site::lacking() {
        println!("skipped: {reason}");
        return;
    }
    // Whoever failed had the turn, and the next one may find all well.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let _watch = RIG.watch();
    test(&SITE);
}

/// A host has let go of everything.
#[track_caller]
fn nothing_is_left(host: &site::Host<'_>) {
    let left =
        format!("grep /srv/node/{}/mounts /proc/mounts || ls -d /sys/class/iscsi_session/*", host.driver());
    host.guest().wait_for(&format!("! ({left}) 2>/dev/null"), site::LIMIT).ok("it has let go");
}
