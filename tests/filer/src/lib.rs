//! A storage host and its users, for tests: the real `leister filer run` in one guest, the real `leister run` in others.
//!
//! # Behavior
//! Both are started, killed and started again as an init would do it, and spoken to as users do: by the CLI and by what
//! the Docker engine says to a volume plugin. What they log lies in the guest's shared folder and so is kept when a
//! test fails.

mod filer;
mod node;
pub mod plugin;
mod process;
mod simulator;
mod writer;

pub use filer::{Filer, FilerSpec};
pub use node::{Node, NodeSpec};
pub use process::program;
pub use simulator::Simulator;
pub use writer::{Writer, Written};
