//! The provisioner of the case study on a real cluster, with a simulated array: what its users write and what they see.
#![allow(clippy::print_stdout, reason = "skips and measured times are printed")]

mod blocks;
mod case_study;
mod claims;
mod endings;
mod faults;
mod replicas;
mod site;
