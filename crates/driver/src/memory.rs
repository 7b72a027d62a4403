//! An array in memory, for tests and benchmarks: the whole contract, with faults as data.
//!
//! The array ([`MemoryArray`]) outlives the driver that talks to it, as a real one outlives a crash.

mod abilities;
mod array;
mod driver;
mod faults;

pub use array::MemoryArray;
pub use driver::MemoryDriver;
pub use faults::{Call, Fault, Faults};
