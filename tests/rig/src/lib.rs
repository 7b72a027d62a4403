//! Small Linux machines that share this one's root file system, on two networks of their own: what tests of real
//! wires, cut cables and killed hosts run on.
//!
//! ```no_run
//! use rig::{Backend, Limit, Rig, Size};
//!
//! # fn main() -> anyhow::Result<()> {
//! let rig = Rig::builder()
//!     .guest("storage", |g| g.memory(Size::gib(1)).disk(Size::gib(8)))
//!     .guest("node1", |g| g)
//!     .backend(Backend::Uml)
//!     .up()?;
//! let node = rig.guest("node1");
//! node.exec("ping -c 1 storage").ok("the storage answers");
//! rig.guest("storage").cut(0)?;
//! node.wait_for("! ping -c 1 -W 1 storage", Limit::from_secs(60)).ok("the cable is cut");
//! # Ok(())
//! # }
//! ```
//!
//! # Behavior
//! Everything lives in one pid and one network namespace per rig, and ends with it: when the [`Rig`] is dropped, and
//! when the process that made it dies in whatever way. Several rigs stand side by side and do not see one another.
//! A rig that is dropped by a panic keeps its [evidence](Rig::keep_evidence).

mod backend;
mod builder;
mod evidence;
mod guest;
mod job;
mod namespace;
mod network;
mod process;
mod rig;
pub mod services;
mod size;
mod wait;

pub use backend::Backend;
pub use builder::{Builder, GuestSpec};
pub use evidence::Watch;
pub use guest::Guest;
pub use job::{Job, Output};
pub use namespace::HostProcess;
pub use network::{HOST, LINKS};
pub use rig::Rig;
pub use size::Size;

/// How long something may take.
pub type Limit = std::time::Duration;
