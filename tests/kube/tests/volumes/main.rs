//! Volumes as a user of Kubernetes has them: the real cluster, its sidecars, and Leister with a pool of its own.

mod claims;
mod faults;
mod site;
mod snapshots;
