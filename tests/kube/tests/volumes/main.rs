//! Volumes as a user of Kubernetes has them: the real cluster, its sidecars, and Leister with a pool of its own.
#![allow(clippy::print_stdout, reason = "skips and measured times are printed")]

mod claims;
mod faults;
mod groups;
mod inputs;
mod neighbours;
mod places;
mod site;
mod snapshots;
