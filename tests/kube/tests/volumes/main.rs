//! Volumes as a user of Kubernetes has them: the real cluster, its sidecars, and Leister with a pool of its own.
#![allow(clippy::print_stdout, reason = "skips and measured times are printed")]

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at what it did not expect, aloud")]

mod claims;
mod faults;
mod site;
mod snapshots;
