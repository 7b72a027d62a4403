//! The storage host.

use anyhow::Result;
use rig::{Guest, Output, Rig};

use crate::process::{LIMIT, Process, program};

/// Brings the disks of a storage guest up: the first is the pool, the second keeps state, that of nfsd too.
pub(crate) const DISKS: &str = include_str!("disks.sh");

/// Where `leister filer` keeps its state, and trust below it.
const STATE: &str = "/var/lib/leister/filer";
pub(crate) const POOL: &str = "/srv/pool";

/// How a storage host shall serve.
#[derive(Debug, Clone)]
pub struct FilerSpec {
    /// As `--wires` has it.
    pub wires: String,
    /// Seconds between two comparisons of the kernel with the records.
    pub period: u16,
}

impl Default for FilerSpec {
    fn default() -> Self {
        Self { wires: "nfs,iscsi".to_owned(), period: 5 }
    }
}

/// `leister filer run` in a guest with two disks.
#[derive(Debug)]
pub struct Filer<'a> {
    process: Process<'a>,
    spec: FilerSpec,
}

impl<'a> Filer<'a> {
    /// Makes pool, state and trust where they are not there yet, starts the filer and waits until it is ready.
    ///
    /// # Errors
    /// When the program is not there.
    ///
    /// # Panics
    /// When something in the guest fails; the message has what it said.
    pub fn up(rig: &'a Rig, guest: &str, spec: FilerSpec) -> Result<Self> {
        let guest = rig.guest(guest);
        let filer = Self { process: Process { guest, name: "filer".to_owned() }, spec };
        filer.prepare()?;
        filer.start()?;
        Ok(filer)
    }

    pub fn guest(&self) -> &'a Guest {
        self.process.guest
    }

    /// Where volumes are in the guest: a volume `v` of tenant `t` is at `volumes/t.leister_v/data` below it.
    pub fn pool(&self) -> &'static str {
        POOL
    }

    /// What clients call it.
    pub fn url(&self) -> String {
        format!("https://{}:8444", self.guest().address(0))
    }

    /// A backend file for it, for a client whose trust is in this folder.
    pub fn backend(&self, name: &str, trust: &str) -> String {
        format!(
            "version: 1\nstorageDriverName: linux\nbackendName: {name}\nremote:\n  url: {}\n  \
             certificate: {trust}/client.crt\n  key: {trust}/client.key\n  ca: {trust}/ca.crt\n",
            self.url()
        )
    }

    /// Its disks and its trust; for [`Filer::up`], and after the guest itself was started again.
    ///
    /// # Errors
    /// When the program is not there.
    ///
    /// # Panics
    /// When something in the guest fails.
    pub fn prepare(&self) -> Result<()> {
        let (guest, program) = (self.guest(), program()?);
        guest.exec_within(LIMIT, DISKS).ok("disks");
        let hosts = [guest.address(0).to_string(), guest.address(1).to_string(), "127.0.0.1".to_owned()];
        let hosts = hosts.map(|host| format!("--host {host}")).join(" ");
        let trust = format!(
            "[ -e {STATE}/trust/server.crt ] || {program} filer trust init {hosts}",
            program = program.display()
        );
        guest.exec_within(LIMIT, &trust).ok("trust");
        self.issue("watch").map(drop)
    }

    /// Makes a client's certificate and key, unless they are there; returns the files that a client has of trust: these, and
    /// the certificate of the authority.
    ///
    /// # Errors
    /// When the program is not there, or the guest is down.
    ///
    /// # Panics
    /// When something in the guest fails.
    pub fn issue(&self, tenant: &str) -> Result<[(&'static str, Vec<u8>); 3]> {
        let (guest, program) = (self.guest(), program()?.display().to_string());
        // Two nodes of one tenant may come up at once.
        let issue = format!(
            "exec 9>/run/issue.lock; flock 9; [ -e {STATE}/trust/{tenant}.crt ] || {program} filer trust issue {tenant}"
        );
        guest.exec_within(LIMIT, &issue).ok("issue");
        let read = |file: &str| guest.read(&format!("{STATE}/trust/{file}"));
        Ok([
            ("client.crt", read(&format!("{tenant}.crt"))?),
            ("client.key", read(&format!("{tenant}.key"))?),
            ("ca.crt", read("ca.crt")?),
        ])
    }

    /// Starts the filer, without waiting for it.
    ///
    /// # Errors
    /// When the program is not there.
    ///
    /// # Panics
    /// When the guest does not do it.
    pub fn spawn(&self) -> Result<()> {
        let FilerSpec { wires, period } = &self.spec;
        let guest = self.guest();
        let words = format!(
            "filer run --pool {POOL} --portal {} --portal {} --wires {wires} --period {period}",
            guest.address(0),
            guest.address(1)
        );
        self.process.start(&words)?.ok("start");
        Ok(())
    }

    /// Starts the filer and waits until it is ready.
    ///
    /// # Errors
    /// When the program is not there.
    ///
    /// # Panics
    /// When it does not become ready in time; the message has its log.
    pub fn start(&self) -> Result<()> {
        self.spawn()?;
        let ready = self
            .guest()
            .wait_for(&format!("kill -0 $(cat /run/filer.pid) || exit 1; {}", self.ask("ready")), LIMIT);
        assert!(ready.is_ok(), "the filer is not ready: {ready:?}\n{}", self.log());
        Ok(())
    }

    /// Kills the process as `kill -9` does; what it made the kernel serve goes on being served.
    ///
    /// # Panics
    /// When it was not running.
    pub fn kill(&self) {
        self.process.end("KILL").ok("kill");
    }

    /// A command that asks it something under `/v1`, for a shell of its guest.
    pub fn ask(&self, what: &str) -> String {
        format!(
            "curl -sSf -m 10 --cacert {STATE}/trust/ca.crt --cert {STATE}/trust/watch.crt \
             --key {STATE}/trust/watch.key https://127.0.0.1:8444/v1/{what}"
        )
    }

    /// Everything it has logged, over all its starts.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// As [`Guest::exec_within`], on the storage host.
    pub fn exec(&self, script: &str) -> Output {
        self.guest().exec_within(LIMIT, script)
    }
}
