//! A node's hands on real wires: the crate `host`, run by the program `hands` inside a guest of the rig.

mod order;
mod tools;

pub use order::{Answer, Attach, Deed, Order};
pub use tools::watch;
