//! What every simulator of an array needs and no array is: a server with faults, a clock, a record of its calls.
//!
//! A [`Simulator`] answers [`Call`]s; [`Server::start`] puts it on a port, over TLS or without. Between the wire and
//! the simulator stand the [`Faults`]: data that say which call is refused, lost, stalled or slow.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod call;
mod calls;
mod clock;
mod faults;
mod file;
mod server;
mod tls;

use std::future::Future;

pub use call::{Call, Reply};
pub use calls::{Calls, Logged};
pub use clock::Clock;
pub use faults::{Body, Effect, Fault, Faults, JobFault, Latency, Overload};
pub use file::{load, save};
pub use server::{Server, StartError};
pub use tls::{Certificate, Tls, TlsError};

/// An array's management API over a model of that array.
pub trait Simulator: Send + Sync + 'static {
    /// The call's method and path template, such as `GET /storage/volumes/{uuid}`: what faults and counts go by.
    fn template(&self, call: &Call) -> String;

    /// Answers the call, and does what it asks.
    fn answer(&self, call: Call) -> impl Future<Output = Reply> + Send;

    /// What this kind of array answers to a caller whose session has ended.
    fn session_expired(&self) -> Reply {
        Reply::text(401, "401 Unauthorized")
    }
}
