//! The rig itself: each backend's guests, rigs beside one another, their end, and the program for people.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at what it did not expect, aloud")]

mod both;
mod end;
mod program;
mod rigs;
mod shared;

use rig::{Backend, Limit, Rig};

/// Generous: the machine may be slow and loaded.
const LIMIT: Limit = Limit::from_secs(120);

/// Whether a test can run; says aloud why not.
fn can_run(backend: Backend) -> bool {
    let available = Rig::available(backend);
    if let Err(reason) = &available {
        println!("skipped: {reason}");
    }
    available.is_ok()
}
