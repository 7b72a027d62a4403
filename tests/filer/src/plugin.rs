//! A CSI plugin in a guest, and what the CSI project's own suite says of it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use go_suite::{Judged, Sanity};
use rig::Guest;

use crate::process::{LIMIT, program};

/// Who is judged: its two services may be of one process or of two.
#[derive(Debug)]
pub struct Plugin<'a> {
    pub guest: &'a Guest,
    pub what: &'a str,
    /// Their sockets.
    pub node: &'a str,
    pub controller: &'a str,
}

const SUITE: Duration = Duration::from_secs(20 * 60);

/// Starts `leister` with these words, its files and its sockets in a folder of the guest: `csi.sock`, `rest.sock`.
///
/// # Errors
/// When the program is not there.
///
/// # Panics
/// When it does not serve; the message has what it said.
pub fn start(guest: &Guest, folder: &str, words: &str) -> Result<()> {
    let start = format!(
        "mkdir -p {folder}; setsid -f sh -c 'echo $$ >{folder}.pid; exec {} {words} --listen none --state-dir {folder} \
         --socket {folder}/rest.sock --csi-endpoint {folder}/csi.sock' </dev/null >>/rig/judged.log 2>&1",
        program()?.display()
    );
    guest.exec(&start).ok("start leister");
    guest.wait_for(&format!("[ -S {folder}/csi.sock ]"), LIMIT).ok("it serves");
    Ok(())
}

/// Ends what was started there.
///
/// # Panics
/// When it does not run.
pub fn stop(guest: &Guest, folder: &str) {
    guest.exec(&format!("kill $(cat {folder}.pid)")).ok("end leister");
}

impl Plugin<'_> {
    /// Lets the suite judge its volumes on a backend, by `mount` or `block`, and prints the number.
    ///
    /// # Errors
    /// One that fails, or is skipped though the plugin claims it.
    #[allow(clippy::print_stdout, reason = "the number is printed")]
    pub fn judge(&self, sanity: &Sanity, backend: &str, access: &str, size: u64) -> Result<()> {
        let (started, own) = (Instant::now(), format!("/run/sanity-{backend}-{access}"));
        let parameters = format!("/etc/parameters/{backend}.yaml");
        self.guest.put(&parameters, format!("storagePools: \"{backend}:.*\"\n"))?;
        let script = format!(
            "mkdir -p {own}; {} {} --csi.controllerendpoint=unix://{} --csi.testvolumeparameters={parameters} \
             --csi.testvolumesize={size} --csi.testvolumeexpandsize={}",
            sanity.program().display(),
            sanity.words(self.node, access, &own).join(" "),
            self.controller,
            2 * size
        );
        let said = self.guest.exec_within(SUITE, &script);
        let report = self.guest.read(&format!("{own}/report.json"))?;
        let judged = Judged::read(&String::from_utf8_lossy(&report));
        let Judged { passed, ran, skipped } = judged.with_context(|| said.stdout)?;
        println!(
            "csi-sanity, {}, {backend}, {access}: {passed}/{ran} passed, {skipped} skipped as not claimed, {:.0?}",
            self.what,
            started.elapsed()
        );
        Ok(())
    }
}
