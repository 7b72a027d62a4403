//! The suite, on the array in memory and on drivers that lie.
#![allow(clippy::unwrap_used, reason = "a test: a panic is the report")]

mod lies;
mod memory;

driver::conformance!(crate::memory::Memory::new());
