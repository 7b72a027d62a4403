//! The real `leister`, as a plain process beside the kubelet.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cluster::NODE;
use crate::daemon::Daemon;
use docker_suite::run_within;

const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

pub(crate) fn daemon(folder: &Path, log: &Path, more: &[&str]) -> Result<Daemon> {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut words: Vec<String> = [
        "run",
        "--node",
        NODE,
        "--listen=none",
        "--pool-size=4GiB",
        "--pool",
        &path("pool"),
        "--state-dir",
        &path("state"),
        "--kubelet-dir",
        &path("kubelet"),
    ]
    .map(str::to_owned)
    .into();
    words.extend(more.iter().map(|word| (*word).to_owned()));
    Ok(Daemon::new("leister", program()?, words, log.into()).at_first(older()))
}

/// What `LEISTER_OLDER_BIN` names, if anything does: an upgrade can be tried with any two builds. It runs first, and
/// what is tested takes its place when it is started again.
pub(crate) fn older() -> Option<PathBuf> {
    std::env::var_os("LEISTER_OLDER_BIN").map(PathBuf::from)
}

/// What one measures, asked at its socket.
///
/// # Errors
/// It does not answer.
pub fn metrics(socket: &Path) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// What `LEISTER_BIN` names, or what this workspace builds, built now if it is missing.
pub(crate) fn program() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("LEISTER_BIN") {
        return Ok(program.into());
    }
    let here = std::env::current_exe()?;
    let folder = here.ancestors().find(|folder| folder.join("deps").is_dir()).context("no build folder")?;
    let program = folder.join("leister");
    if !program.exists() {
        run_within(Command::new("cargo").args(["build", "--package", "leister"]), BUILD_LIMIT)?.ok()?;
    }
    Ok(program)
}
