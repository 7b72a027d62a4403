//! Block devices: attached, told apart, proven blank, found busy.

pub(crate) mod busy;
pub(crate) mod image;
pub(crate) mod r#loop;
pub(crate) mod proof;
