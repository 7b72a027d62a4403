//! The rig itself, proven with Docker's own `local` driver: the baseline the benchmarks compare with.

use std::process::Command;

use anyhow::{Result, ensure};
use docker_suite::{Engine, needs_the_machine, run};

#[test]
fn what_one_container_writes_another_reads() -> Result<()> {
    needs_the_machine!();
    let engine = Engine::shared()?;
    engine.docker(&["volume", "create", "local-kept"])?.ok()?;
    engine.shell("local-kept", "echo kept > /data/file && sync")?.ok()?;
    let read = engine.shell("local-kept", "cat /data/file")?.ok()?;
    ensure!(read == "kept", "{read:?}");
    engine.docker(&["volume", "rm", "local-kept"])?.ok()?;
    Ok(())
}

#[test]
fn a_command_that_fails_in_a_container_fails_here() -> Result<()> {
    needs_the_machine!();
    let engine = Engine::shared()?;
    let said = engine.shell("local-fails", "echo no >&2; exit 7")?;
    engine.docker(&["volume", "rm", "local-fails"])?.ok()?;
    ensure!((said.code, said.err.as_str()) == (Some(7), "no"), "{said:?}");
    Ok(())
}

#[test]
fn an_engine_leaves_nothing_behind_although_a_container_still_runs() -> Result<()> {
    needs_the_machine!();
    let engine = Engine::start()?;
    engine.background("runs-on", "local-runs-on", "while true; do date > /data/now; sleep 1; done")?;
    let pid = engine.pid();
    let folder = engine.folder().to_path_buf();
    drop(engine);
    ensure!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "dockerd lives on");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(!mounts.contains(&*folder.to_string_lossy()), "{mounts}");
    ensure!(!folder.exists(), "{} is still there", folder.display());
    Ok(())
}

#[test]
fn a_mount_made_below_the_engines_folder_is_seen_by_a_container() -> Result<()> {
    needs_the_machine!();
    let engine = Engine::start()?;
    let target = engine.folder().join("later");
    std::fs::create_dir(&target)?;
    let path = target.display().to_string();
    run(Command::new("mount").args(["-t", "tmpfs", "none", &path]))?.ok()?;
    std::fs::write(target.join("file"), "seen")?;
    let read = engine.shell(&path, "cat /data/file")?.ok()?;
    ensure!(read == "seen", "{read:?}");
    // Nobody holds it: it can be unmounted, and the engine's namespace follows.
    run(Command::new("umount").arg(&path))?.ok()?;
    let theirs = std::fs::read_to_string(format!("/proc/{}/mountinfo", engine.pid()))?;
    ensure!(!theirs.contains(&path), "the engine holds on to {path}");
    Ok(())
}
