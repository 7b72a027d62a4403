//! Whether this machine can make pools.

/// Says why not.
pub(crate) fn may_make_pools() -> bool {
    let fine = rustix::process::geteuid().is_root() && std::path::Path::new("/dev/loop-control").exists();
    if !fine {
        println!("skipped: making a pool needs root and loop devices");
    }
    fine
}
