//! The etcd that hosts keep their records in.

use std::fs::File;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use rig::{HostProcess, Output, Rig};

/// Three members of Debian's etcd on the rig's first network.
#[derive(Debug)]
pub struct Members {
    rig: &'static Rig,
    running: Mutex<[Option<HostProcess>; COUNT]>,
}

const COUNT: usize = 3;
const PORT: usize = 2379;

impl Members {
    /// # Errors
    /// What does not start.
    pub fn up(rig: &'static Rig) -> Result<Self> {
        let members = Self { rig, running: Mutex::default() };
        (0..COUNT).try_for_each(|member| members.start(member))?;
        let healthy = members.ctl("endpoint health");
        ensure!(healthy.is_ok(), "etcd does not serve: {healthy:?}");
        Ok(members)
    }

    /// Starts one that does not run.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(&self, member: usize) -> Result<()> {
        let folder = self.rig.folder().join("etcd");
        std::fs::create_dir_all(&folder).context("a folder for etcd")?;
        let log = File::options().create(true).append(true).open(folder.join(format!("{member}.log")))?;
        let all = (0..COUNT).map(|member| format!("m{member}={}", self.url(member, 1)));
        let (client, peer) = (self.url(member, 0), self.url(member, 1));
        let mut etcd = Command::new("etcd");
        etcd.args(["--name", &format!("m{member}"), "--data-dir"])
            .arg(folder.join(member.to_string()))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &all.collect::<Vec<_>>().join(",")])
            .args(["--heartbeat-interval", "100", "--election-timeout", "1000", "--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let started = self.rig.spawn_in_namespace(&mut etcd)?;
        self.running()[member] = Some(started);
        Ok(())
    }

    /// Kills the one that leads the others, and says which it was.
    ///
    /// # Panics
    /// When none does.
    pub fn kill_leader(&self) -> usize {
        let said = self.ctl("endpoint status -w simple").ok("who leads etcd");
        let leads = said.lines().position(|line| line.contains(", true, false, "));
        let leader = leads.unwrap_or_else(|| panic!("no member leads: {said}"));
        // Dropped, it is killed.
        self.running()[leader] = None;
        leader
    }

    /// As `--etcd-endpoints` has them, beginning with one of them.
    pub fn endpoints(&self, first: usize) -> String {
        (0..COUNT).map(|n| self.url((first + n) % COUNT, 0)).collect::<Vec<_>>().join(",")
    }

    /// The vendor's own client, at all members; patient, as they may be starting.
    fn ctl(&self, words: &str) -> Output {
        let all = self.endpoints(0);
        self.rig.host(&format!("ETCDCTL_API=3 etcdctl --command-timeout 60s --endpoints {all} {words}"))
    }

    fn url(&self, member: usize, offset: usize) -> String {
        format!("http://{}:{}", self.rig.address(0), PORT + 10 * member + offset)
    }

    fn running(&self) -> std::sync::MutexGuard<'_, [Option<HostProcess>; COUNT]> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
