//! Block devices: attached, told apart, proven blank, found busy.

use std::fs::File;
use std::path::PathBuf;

use model::Bytes;

use crate::error::Result;

pub(crate) mod block;
pub(crate) mod busy;
pub(crate) mod image;
pub(crate) mod r#loop;
pub(crate) mod proof;

/// A block device whose identity is proven anew each time that it is opened.
pub(crate) trait Device: Clone + Send + Sync + 'static {
    fn path(&self) -> PathBuf;
    /// As the kernel has it now.
    fn size(&self) -> Result<Bytes>;
    fn open(&self, write: bool) -> Result<File>;
    /// `None` when something else uses it.
    fn open_alone(&self) -> Result<Option<File>>;
}
