//! The orchestrator over the memory array and the memory store: nothing lost, leaked or doubled.
#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub)]

mod access;
mod admin;
mod calls;
mod death;
mod groups;
mod house;
mod incidents;
mod lifecycle;
mod random;
mod replies;
mod running;
mod sharing;
