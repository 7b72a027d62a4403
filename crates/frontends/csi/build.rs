//! Makes Rust of the protocols; needs no protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["csi.proto", "pluginregistration.proto"], ["proto"])?;
    // The tests call what is served here.
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
