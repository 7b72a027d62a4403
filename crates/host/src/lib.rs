//! A node's hands: attaches what a route leads to, mounts it, and never harms what lies on it.
//!
//! Nothing is remembered beside the kernel: what is mounted, how often and from where is read from the mount
//! table and from sysfs each time, so a restart loses nothing. The one thing written down is that a format has
//! begun (`stage/format.rs`), because a half-made filesystem cannot be told from a stranger's data.

mod device;
mod encryption;
mod error;
pub mod exec;
mod filesystem;
mod host;
mod identity;
mod lock;
mod mount;
mod sessions;
mod socket;
mod stage;
mod wire;

pub use encryption::{Passphrase, Passphrases};
pub use error::HostError;
pub use host::{Attached, Attachment, Finding, Healing, Host, HostConfig, Limits, Paths, Usage};
pub use identity::{IdentityFiles, ensure_nqn, identity, identity_from};
pub use socket::{Socket, SocketError};
pub use wire::Wire;
