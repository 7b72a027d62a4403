//! Debian's etcd, on loopback: members that can be killed, stopped and started again.

use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::host::{signal, until};

/// Members that know each other. All are gone when it is dropped.
pub(crate) struct Cluster {
    folder: TempDir,
    clients: Vec<u16>,
    peers: Vec<u16>,
    members: Vec<Option<Child>>,
    more: Vec<String>,
    scheme: &'static str,
}

impl Cluster {
    pub(crate) fn of(size: usize) -> Cluster {
        let mut cluster = Cluster::with(size, "http", &[]);
        cluster.start();
        cluster
    }

    /// Not started yet.
    pub(crate) fn with(size: usize, scheme: &'static str, more: &[String]) -> Cluster {
        let ports = || {
            let taken: Vec<_> = (0..size).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
            taken.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
        };
        Cluster {
            // In memory: what they flush must not wait for the disk of a loaded machine.
            folder: tempfile::tempdir_in("/dev/shm").unwrap(),
            clients: ports(),
            peers: ports(),
            members: (0..size).map(|_| None).collect(),
            more: more.to_vec(),
            scheme,
        }
    }

    pub(crate) fn start(&mut self) {
        for member in 0..self.members.len() {
            self.start_one(member);
        }
        if self.scheme == "http" {
            until("etcd serves", || self.ctl(&["endpoint", "health"]).status.success());
        }
    }

    pub(crate) fn start_one(&mut self, member: usize) {
        let all = self.peers.iter().enumerate().map(|(n, port)| format!("m{n}=http://127.0.0.1:{port}"));
        let all = all.collect::<Vec<_>>().join(",");
        let client = format!("{}://127.0.0.1:{}", self.scheme, self.clients[member]);
        let peer = format!("http://127.0.0.1:{}", self.peers[member]);
        let child = Command::new("etcd")
            .args(["--name", &format!("m{member}"), "--data-dir"])
            .arg(self.folder.path().join(format!("m{member}")))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &all, "--log-level", "error"])
            .args(["--heartbeat-interval", "100", "--election-timeout", "1000"])
            .args(&self.more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd of the package etcd-server");
        self.members[member] = Some(child);
    }

    pub(crate) fn kill(&mut self, member: usize) {
        if let Some(mut child) = self.members[member].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// None of them does anything, nor says so.
    pub(crate) fn freeze(&self, frozen: bool) {
        for child in self.members.iter().flatten() {
            signal(child, if frozen { Signal::STOP } else { Signal::CONT });
        }
    }

    pub(crate) fn endpoint(&self, member: usize) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.clients[member])
    }

    pub(crate) fn endpoints(&self) -> String {
        (0..self.clients.len()).map(|member| self.endpoint(member)).collect::<Vec<_>>().join(",")
    }

    /// The vendor's own client, at the members that are alive.
    pub(crate) fn ctl(&self, words: &[&str]) -> Output {
        let alive = (0..self.members.len()).filter(|member| self.members[*member].is_some());
        let alive: Vec<String> = alive.map(|member| self.endpoint(member)).collect();
        Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &alive.join(",")])
            .args(words)
            .output()
            .expect("etcdctl of the package etcd-client")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in 0..self.members.len() {
            self.kill(member);
        }
    }
}
