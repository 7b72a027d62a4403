//! An ONTAP array that is none: its management API over HTTPS, with the rules, limits and errors of the real one.
//!
//! [`Sim::builder`] makes one on a port of its own. What it cannot know about a real array is in `NOTES.md`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod array;
mod backing;
mod builder;
pub mod record;
mod refusal;
mod resource;
mod resources;
mod rest;
mod schema;
mod seed;
mod sim;
mod state;

pub use array::Limits;
pub use backing::Backing;
pub use builder::{BuildError, Builder, Personality};
pub use resources::volumes::space::for_data;
pub use sim::{Edit, Sim};
pub use sim_kit::{
    Body, Calls, Certificate, Clock, Effect, Fault, Faults, JobFault, Latency, Logged, Overload,
};
pub use state::State;
