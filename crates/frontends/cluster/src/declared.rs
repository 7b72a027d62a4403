//! Backends that somebody declares: objects of the kind `Backend`, and Trident's `TridentBackendConfig`.
//!
//! An object's `spec` is a backend file; what is secret in it stands in a Secret that it names. Every instance reads the
//! objects, so that any of them can come to lead; the one who does opens what they say, and writes into `status` what
//! came of it.

mod declaration;
mod definitions;
mod keeper;
mod secrets;
mod status;

pub use definitions::{DEFINITION, TRIDENT_DEFINITION};
pub use keeper::Keeper;
pub use secrets::{SecretError, Secrets};
