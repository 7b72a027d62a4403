//! Real storage behind a simulated ONTAP array: its volumes lie in a pool of the filer, its junctions are exports of the
//! kernel's NFS server, its LUNs and namespaces are units of the kernel's targets, its interfaces are addresses of this
//! machine.
//!
//! # Behavior
//! What shall be is computed from the array's state ([`content`], [`wires`]), and the machine is made equal. Nothing is
//! deleted before the state that no longer has it is durable; nothing is answered before it is done.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod content;
mod kernel;
mod plane;
#[cfg(test)]
mod tests;
mod wires;

pub use plane::{Plane, PlaneSpec};
