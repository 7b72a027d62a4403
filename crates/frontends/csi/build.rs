//! Makes Rust of the protocol; needs no protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/csi.proto");
    let descriptors = protox::compile(["csi.proto"], ["proto"])?;
    // The tests call what is served here.
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
