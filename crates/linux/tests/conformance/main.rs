//! The driver's suite on real pools: btrfs in a sparse file here, XFS and a thin pool of LVM in a guest.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test: a panic is the report")]

mod guests;
mod host;
mod pools;

use model::Layout;

mod files {
    driver::conformance!(super::host::Host::new(super::Layout::File).await);
}

mod blocks {
    driver::conformance!(super::host::Host::new(super::Layout::Block).await);
}
