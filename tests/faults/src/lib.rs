//! Faults on real wires, each as data, and what an application, Leister and the data make of them.
//!
//! # Behavior
//! One guest is the storage (`leister filer run`, or `leister sim ontap --data`), one the node (`leister run`). A [writer](write) in the node writes
//! numbered records and keeps outside of the volume which of them were acknowledged. A [`Fault`] is done and undone
//! while it writes; afterwards the volume is detached, attached anew and read: what was acknowledged must be there.

mod fault;
mod observer;
mod record;
mod row;
mod said;
mod served;
mod stage;
mod trial;
mod writer;

pub use fault::{Fault, Storage, Wire, faults};
pub use row::{Row, Verdict, table};
pub use trial::run_all;
pub use writer::{Checked, Said, check, write};
