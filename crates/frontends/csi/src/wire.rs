//! The messages and services of `proto/`, as the build script makes Rust of them.
#![allow(missing_docs, clippy::all, reason = "generated")]

tonic::include_proto!("csi.v1");

/// How a kubelet learns of a plugin.
pub mod pluginregistration {
    tonic::include_proto!("pluginregistration");
}
