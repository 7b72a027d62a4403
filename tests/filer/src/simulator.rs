//! A storage array that is simulated, with data behind it.

use anyhow::{Context as _, Result};
use rig::{Guest, Output, Rig};
use serde_json::Value;

use crate::filer::{DISKS, POOL};
use crate::process::{LIMIT, Process};

/// `leister sim ontap --data` in a guest with two disks.
#[derive(Debug)]
pub struct Simulator<'a> {
    process: Process<'a>,
    wires: String,
}

const USER: &str = "admin";
const PASSWORD: &str = "netapp123";
const PORT: u16 = 8443;
/// The last number of the array's addresses: for files, and for blocks.
const NAS: [u8; 2] = [50, 51];
const SAN: [u8; 2] = [60, 61];

impl<'a> Simulator<'a> {
    /// Makes its pool where it is not there yet, starts it and waits until it answers. `wires` is as `--wires` has it.
    ///
    /// # Errors
    /// When the program is not there.
    ///
    /// # Panics
    /// When something in the guest fails; the message has what it said.
    pub fn up(rig: &'a Rig, guest: &str, wires: &str) -> Result<Self> {
        let guest = rig.guest(guest);
        let array = Self { process: Process { guest, name: "array".to_owned() }, wires: wires.to_owned() };
        array.prepare();
        array.start()?;
        Ok(array)
    }

    pub fn guest(&self) -> &'a Guest {
        self.process.guest
    }

    /// Its disks; for [`Simulator::up`], and after the guest itself was started again.
    ///
    /// # Panics
    /// When something in the guest fails.
    pub fn prepare(&self) {
        self.guest().exec_within(LIMIT, DISKS).ok("disks");
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When the program is not there.
    ///
    /// # Panics
    /// When it does not in time; the message has its log.
    pub fn start(&self) -> Result<()> {
        let lifs = |option: &str, hosts: [u8; 2]| {
            let [first, second] = hosts;
            format!("--{option} {} --{option} {}", self.address(0, first), self.address(1, second))
        };
        self.guest().put("/etc/array.password", PASSWORD)?;
        let words = format!(
            "sim ontap --listen 0.0.0.0:{PORT} --data {POOL} --wires {} {} {} --password-file /etc/array.password",
            self.wires,
            lifs("nas-lif", NAS),
            lifs("san-lif", SAN)
        );
        self.process.start(&words)?.ok("start");
        let look = format!("kill -0 $(cat /run/array.pid) || exit 1; {}", curl("GET", "/cluster", None));
        let ready = self.guest().wait_for(&look, LIMIT);
        assert!(ready.is_ok(), "the array does not answer: {ready:?}\n{}", self.log());
        Ok(())
    }

    /// Kills the process as `kill -9` does; what it made the kernel serve goes on being served.
    ///
    /// # Panics
    /// When it was not running.
    pub fn kill(&self) {
        self.process.end("KILL").ok("kill");
    }

    /// A backend file for it, with more lines; files are mounted from link 0 unless they say otherwise.
    pub fn backend(&self, driver: &str, name: &str, more: &str) -> String {
        // The array may list its interfaces in any order.
        let chosen = !driver.contains("nas") || more.contains("dataLIF:");
        let data = if chosen { String::new() } else { format!("dataLIF: {}\n", self.data_address(0)) };
        format!(
            "version: 1\nstorageDriverName: {driver}\nbackendName: {name}\nmanagementLIF: {}:{PORT}\nsvm: svm1\n\
             username: {USER}\npassword: {PASSWORD}\n{data}{more}",
            self.guest().address(0)
        )
    }

    /// Where nodes mount from: its interface `nas1` on link 0, `nas2` on link 1.
    pub fn data_address(&self, link: u8) -> String {
        self.address(link, NAS[usize::from(link)])
    }

    /// One of those where nodes reach LUNs: its interface `san1`.
    pub fn block_address(&self) -> String {
        self.address(0, SAN[0])
    }

    /// Makes a call as its administrator does, below `/api`.
    ///
    /// # Errors
    /// When it refuses, or does not answer.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let said = self.guest().exec_within(LIMIT, &curl(method, path, body));
        anyhow::ensure!(said.is_ok(), "{method} {path}: {} {}", said.stdout.trim(), said.stderr.trim());
        serde_json::from_str(&said.stdout).with_context(|| format!("{method} {path}: {}", said.stdout))
    }

    /// Everything it has logged, over all its starts.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// As [`Guest::exec_within`], on its guest.
    pub fn exec(&self, script: &str) -> Output {
        self.guest().exec_within(LIMIT, script)
    }

    /// The address on a link with another last number.
    fn address(&self, link: u8, last: u8) -> String {
        let own = self.guest().address(link).to_string();
        own.rsplit_once('.').map_or(own.clone(), |(network, _)| format!("{network}.{last}"))
    }
}

fn curl(method: &str, path: &str, body: Option<&Value>) -> String {
    let body = body.map_or(String::new(), |body| format!("-d '{body}'"));
    format!(
        "curl -sSk --fail-with-body -m 60 -u {USER}:{PASSWORD} -X {method} {body} 'https://127.0.0.1:{PORT}/api{path}'"
    )
}
