//! The kernel calls that have no wrapper elsewhere. The only rooms with unsafe code.

pub(crate) mod btrfs;
pub(crate) mod loops;
pub(crate) mod xfs;
