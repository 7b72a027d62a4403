//! The family against the simulator.

#![allow(clippy::unwrap_used)]

mod access;
mod array;
mod calls;
mod conformance;
mod faults;
mod groups;
mod inputs;
mod modify;
mod opening;
mod outage;
mod whole;
mod worn;
