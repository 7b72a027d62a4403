//! Several hosts with containers over one storage: guests of the rig with kernels, engines and instances of Leister of
//! their own.

mod array;
mod host;
mod members;
mod site;
mod together;

pub use array::ArraySite;
pub use host::Host;
pub use members::Members;
pub use site::{Records, Site};
pub use together::{both, wait};

/// Generous: the machine may be slow and loaded.
pub const LIMIT: rig::Limit = rig::Limit::from_secs(120);
