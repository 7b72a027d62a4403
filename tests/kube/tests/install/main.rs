//! Leister in pods of its own, as the chart installs it, and what the chart says.
#![allow(clippy::print_stdout, reason = "skips and measured times are printed")]

mod cluster;
mod manifests;
mod rights;
mod single;
mod site;
