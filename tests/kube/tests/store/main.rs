//! Records in the apiserver of a real cluster: what every store must do, and what comes of deaths, cuts and people.
#![allow(clippy::print_stdout, reason = "skips and measured times are printed")]

mod claims;
mod clocks;
mod counts;
mod declared;
mod faults;
mod instances;
mod people;
mod post;
mod secrets;
mod site;

use site::open;

store::run_against!(open);
