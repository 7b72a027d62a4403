//! How an instance starts: at once, alone, and loudly when it cannot.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use docker_suite::{Engine, LeisterSpec, needs_the_machine, until};

#[test]
fn docker_is_answered_within_a_second_while_backends_are_opening() -> Result<()> {
    needs_the_machine!();
    let engine = Engine::start()?;
    let folder = tempfile::Builder::new().prefix("slow-").tempdir_in(engine.folder())?;
    let go = folder.path().join("go");
    let mut spec = LeisterSpec::new(folder.path(), &engine.plugins());
    spec.environment.push(("PATH".into(), path_with_slow_mkfs(folder.path(), &go)?));
    let socket = engine.plugins().join(format!("{}.sock", spec.name));
    let mut leister = spec.spawn()?;
    until("the plugin's socket", Duration::from_secs(10), || socket.exists().then_some(()))?;

    let listed = engine.docker(&["volume", "ls"])?;
    let unknown = engine.docker(&["volume", "inspect", "nobody-made-this"])?;
    ensure!(!leister.is_ready(), "its backends were open already: this shows nothing");
    let took = listed.took.max(unknown.took);
    ensure!(took < Duration::from_secs(1), "{took:?}: {listed:?} {unknown:?}");
    listed.ok()?;
    unknown.refused()?;

    std::fs::write(&go, "")?;
    leister.wait_ready()?;
    engine.docker(&["volume", "create", "-d", leister.name(), "-o", "size=64MiB", "late"])?.ok()?;
    engine.docker(&["volume", "rm", "late"])?.ok()?;
    Ok(())
}

#[test]
fn a_second_instance_on_the_same_store_ends_and_says_so() -> Result<()> {
    needs_the_machine!();
    let folder = tempfile::Builder::new().prefix("twice-").tempdir()?;
    let first = LeisterSpec::new(&folder.path().join("first"), folder.path()).start()?;
    let mut spec = LeisterSpec::new(&folder.path().join("second"), folder.path());
    spec.state.clone_from(&first.spec().state);
    let mut second = spec.spawn()?;
    let code = second.wait_end()?;
    ensure!(code != 0 && second.log().contains("--state-dir"), "{code}: {}", second.log());
    ensure!(first.is_ready(), "the first one suffered:\n{}", first.log());
    Ok(())
}

#[test]
fn a_second_instance_on_the_same_pool_serves_without_it_and_says_why() -> Result<()> {
    needs_the_machine!();
    let folder = tempfile::Builder::new().prefix("shared-").tempdir()?;
    let first = LeisterSpec::new(&folder.path().join("first"), folder.path()).start()?;
    let mut spec = LeisterSpec::new(&folder.path().join("second"), folder.path());
    spec.pool.clone_from(&first.spec().pool);
    let second = spec.start()?;
    let backends = second.list("backends")?;
    ensure!(backends.len() == 1 && backends[0]["health"] == "failed", "{backends:?}");
    ensure!(backends[0].to_string().contains("in use by process"), "{backends:?}");
    second.cli(&["create", "volume", "v", "--size", "16MiB"])?.refused()?;
    first.cli(&["create", "volume", "v", "--size", "16MiB"])?.ok()?;
    Ok(())
}

/// A `PATH` on which making a file system waits for a file.
fn path_with_slow_mkfs(folder: &Path, go: &Path) -> Result<String> {
    let bin = folder.join("slow");
    std::fs::create_dir(&bin)?;
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH")?);
    let script = format!(
        "#!/bin/sh\nuntil [ -e {} ]; do sleep 0.05; done\nPATH={path} exec mkfs.btrfs \"$@\"\n",
        go.display()
    );
    let mkfs = bin.join("mkfs.btrfs");
    std::fs::write(&mkfs, script)?;
    std::fs::set_permissions(&mkfs, std::fs::Permissions::from_mode(0o755))?;
    Ok(format!("{}:{path}", bin.display()))
}
