//! The driver's suite on a real pool: a sparse file, a loop device, btrfs.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test: a panic is the report")]

mod host;
mod pools;

use model::Layout;

mod files {
    driver::conformance!(super::host::Host::new(super::Layout::File).await);
}

mod blocks {
    driver::conformance!(super::host::Host::new(super::Layout::Block).await);
}
