//! What is done with volumes, one file an operation.

mod create;
mod delete;
mod grow;
mod import;
pub(crate) mod next;
mod publish;
mod reconcile;
mod snapshot;

pub(crate) use import::another_instances;
