//! The messages and services of `proto/csi.proto`, as the build script makes Rust of them.
#![allow(missing_docs, clippy::all, reason = "generated")]

tonic::include_proto!("csi.v1");
