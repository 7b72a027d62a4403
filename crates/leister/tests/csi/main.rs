//! The CSI door of a real server with a pool of its own: judged by the project's own `csi-sanity`, compared with the
//! official protocol, and killed.
#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]
#![allow(clippy::print_stdout, reason = "a skip and what was counted are printed")]

mod array;
mod client;
mod crashes;
mod groups;
mod names;
mod pending;
mod places;
#[path = "../cli/pools.rs"]
mod pools;
mod registration;
#[path = "../cli/rig.rs"]
#[allow(dead_code, reason = "what the tests of the command line need besides")]
mod rig;
mod sanity;
#[path = "../cli/undo.rs"]
mod undo;
mod uses;
mod wire;
