//! The driver's suite against a filer elsewhere: the real `leister filer run` in one guest, and another guest that uses
//! what it serves by the kernel's own clients. One rig, used in turn.
#![allow(clippy::unwrap_used, reason = "a test: a panic is the report")]

mod forward;
mod node;
mod remote;

use model::Layout;
use rig::{Backend, Rig};

/// Why this machine cannot run these tests.
fn reason() -> Option<String> {
    Rig::available(Backend::Uml).err()
}

mod files {
    driver::conformance!(super::remote::Remote::new(super::Layout::File).await, unless super::reason());
}

mod blocks {
    driver::conformance!(super::remote::Remote::new(super::Layout::Block).await, unless super::reason());
}
