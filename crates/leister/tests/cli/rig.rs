//! `leister run` on a pool of its own, and the program as its user calls it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::undo;

const PROGRAM: &str = env!("CARGO_BIN_EXE_leister");
const LIMIT: Duration = Duration::from_secs(60);

/// A server and its folder; both are gone afterwards, also after a panic.
pub(crate) struct Rig {
    child: Option<Child>,
    folder: TempDir,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Rig {
    /// Without a server.
    pub(crate) fn bare() -> Rig {
        Rig { child: None, folder: tempfile::tempdir().unwrap() }
    }

    /// With a server that is ready.
    pub(crate) fn start() -> Rig {
        let mut rig = Rig::bare();
        rig.serve(&[]);
        rig
    }

    pub(crate) fn serve(&mut self, more: &[&str]) {
        let child = self.server(more).spawn().unwrap();
        self.wait_for(child);
    }

    /// With nobody who reads its log.
    pub(crate) fn serve_unheard(&mut self) {
        let mut child = self.server(&[]).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stderr.take());
        self.wait_for(child);
    }

    fn wait_for(&mut self, child: Child) {
        self.child = Some(child);
        let started = Instant::now();
        while !self.is_ready() {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", self.log());
            assert!(started.elapsed() < LIMIT, "it is not ready:\n{}", self.log());
            pause();
        }
    }

    /// A server that is to fail at its start.
    pub(crate) fn refused(&self, more: &[&str]) -> Said {
        said(self.server(more).stderr(Stdio::piped()).stdout(Stdio::piped()).output().unwrap())
    }

    /// Ends the server as an operator does, and tells how it ended.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        signal(&child, Signal::TERM);
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code();
            }
            assert!(started.elapsed() < LIMIT, "it does not end:\n{}", self.log());
            pause();
        }
    }

    /// Ends the server as a loss of power would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The program with these words, against this server.
    pub(crate) fn cli(&self, words: &[&str]) -> Said {
        self.cli_with(words, "")
    }

    pub(crate) fn cli_with(&self, words: &[&str], input: &str) -> Said {
        let mut child = Command::new(PROGRAM)
            .args(words)
            .env("LEISTER_SERVER", format!("unix://{}", self.socket().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may not read its input at all.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        said(child.wait_with_output().unwrap())
    }

    /// Fails with what it said unless the command went well.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let said = self.cli(words);
        assert_eq!(said.code, 0, "{words:?}: {said:?}\n{}", self.log());
        said.out
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).display().to_string()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn server(&self, more: &[&str]) -> Command {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(PROGRAM);
        command
            .args(["run", "--listen", "none", "--pool-size", "1GiB", "--state-dir"])
            .arg(self.path("state"))
            .arg("--pool")
            .arg(self.path("pool"))
            .arg("--socket")
            .arg(self.socket())
            .arg("--plugin-dir")
            .arg(self.path("plugins"))
            .args(more)
            .stdout(Stdio::null())
            .stderr(log);
        command
    }

    fn socket(&self) -> PathBuf {
        self.path("rest.sock")
    }

    fn is_ready(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = UnixStream::connect(self.socket())?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.kill();
        undo::undo(self.folder.path());
    }
}

fn said(output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn pause() {
    std::thread::park_timeout(Duration::from_millis(20));
}
