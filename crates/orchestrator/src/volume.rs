//! What is done with volumes, one file an operation.

mod create;
mod delete;
mod fence;
mod group;
mod grow;
mod import;
mod modify;
mod naming;
pub(crate) mod next;
mod publish;
mod reconcile;
mod sharing;
mod snapshot;

pub(crate) use fence::in_use;
pub(crate) use import::another_instances;
pub(crate) use publish::Wish;
