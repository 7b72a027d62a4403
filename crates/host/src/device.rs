//! Block devices: attached, told apart, proven blank, found busy.

pub(crate) mod block;
pub(crate) mod busy;
pub(crate) mod image;
pub(crate) mod iscsi;
pub(crate) mod r#loop;
pub(crate) mod luks;
pub(crate) mod mapping;
pub(crate) mod multipath;
pub(crate) mod nvme;
pub(crate) mod proof;
pub(crate) mod scsi;
