//! The REST frontend: what `leister` the command, scripts and dashboards talk to.
//!
//! Every answer that is not what was asked for is an [`api::ErrorBody`].

mod class;
mod extract;
mod guard;
mod paging;
mod request_id;
mod routes;
mod server;
mod status;
mod view;
mod wait;
mod wish;

pub use class::{ClassProblem, class};
pub use routes::openapi;
pub use server::{RestError, RestSettings, Server};
