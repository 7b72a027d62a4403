//! A whole storage host: `leister filer run` in a guest serves other guests, which use it by `leister run`. One rig.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at what it did not expect, aloud")]

mod doctor;
mod faults;
mod luks;
mod serving;
mod stage;
