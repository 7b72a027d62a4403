//! Volumes on this node, for whichever frontend asks: published, attached, marked as used, mounted, and freed again.
//!
//! It keeps nothing of its own. Volumes are the orchestrator's; who has which mounted is read from the mount
//! table; so a restart, however rude, loses no count.

mod error;
mod keys;
mod locks;
mod mounts;
pub mod permissions;
mod secrets;
mod serving;
mod stages;
mod upkeep;

pub use error::on_node;
pub use keys::Keys;
pub use mounts::{Held, Mounts, too_slow};
pub use secrets::Secrets;
pub use serving::serve_until;
pub use stages::{Shape, Stage};
pub use upkeep::keep;
