//! Instances of `leister run` that share an etcd, each with a state directory and a node name of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sim_ontap::Sim;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::cluster::Cluster;
use crate::undo;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_leister");
const LIMIT: Duration = Duration::from_secs(90);

/// Storage that whoever leads opens: a pool, which can be mounted, or an array, which several can open at once.
pub(crate) struct Site {
    folder: TempDir,
    array: Option<(Sim, Runtime)>,
}

pub(crate) struct Host {
    pub(crate) name: String,
    verb: &'static str,
    folder: PathBuf,
    child: Option<Child>,
    more: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Site {
    pub(crate) fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let backend = format!(
            "version: 1\nstorageDriverName: linux\nbackendName: shared\npool: {}\npoolSize: 1GiB\n",
            folder.path().join("pool").display()
        );
        std::fs::write(folder.path().join("backend.yaml"), backend).unwrap();
        Site { folder, array: None }
    }

    pub(crate) fn with_array() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let sim = runtime.block_on(Sim::builder().svm("svm1").user("admin", "netapp123").start()).unwrap();
        let backend = format!(
            "version: 1\nstorageDriverName: ontap-nas\nbackendName: shared\nmanagementLIF: {}\nsvm: svm1\n\
             username: admin\npassword: netapp123\nstoragePrefix: t_\n",
            sim.address()
        );
        std::fs::write(folder.path().join("backend.yaml"), backend).unwrap();
        Site { folder, array: Some((sim, runtime)) }
    }

    /// The volumes that are really there.
    pub(crate) fn volumes(&self) -> Vec<String> {
        let mut names: Vec<String> = match &self.array {
            Some((sim, _)) => {
                let state = sim.state();
                let names = state.list("volumes").filter_map(|volume| volume["name"].as_str());
                names.filter(|name| name.starts_with("t_")).map(ToOwned::to_owned).collect()
            }
            None => {
                let pool = self.folder.path().join("pool");
                let listed = Command::new("btrfs").args(["subvolume", "list"]).arg(pool).output().unwrap();
                let listed = String::from_utf8(listed.stdout).unwrap();
                listed.lines().filter(|line| line.contains("leister_")).map(ToOwned::to_owned).collect()
            }
        };
        names.sort();
        names
    }

    pub(crate) fn start(&self, name: &str, endpoints: &str) -> Host {
        self.start_with(name, endpoints, &[])
    }

    pub(crate) fn start_with(&self, name: &str, endpoints: &str, more: &[&str]) -> Host {
        self.start_as("run", name, endpoints, more)
    }

    pub(crate) fn start_as(&self, verb: &'static str, name: &str, endpoints: &str, more: &[&str]) -> Host {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut host = Host {
            name: name.to_owned(),
            verb,
            folder,
            child: None,
            more: more.iter().map(ToString::to_string).collect(),
        };
        host.start(endpoints);
        host
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        undo::undo(self.folder.path());
    }
}

impl Host {
    pub(crate) fn start(&mut self, endpoints: &str) {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(PROGRAM);
        command
            .args([self.verb, "--listen", "none", "--store", "etcd", "--etcd-endpoints", endpoints])
            .args(["--node", &self.name, "--state-dir"])
            .arg(self.path("state"))
            .arg("--config")
            .arg(self.folder.with_file_name("backend.yaml"))
            .arg("--socket")
            .arg(self.path("rest.sock"))
            .args(&self.more)
            .stdout(Stdio::null())
            .stderr(log);
        match self.verb {
            "run" => command.arg("--plugin-dir").arg(self.path("plugins")),
            _ => command.arg("--csi-endpoint").arg(self.path("csi.sock")),
        };
        self.child = Some(command.spawn().unwrap());
        until(&format!("{} is ready", self.name), || {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", self.log());
            self.get("/readyz").starts_with("HTTP/1.1 200")
        });
    }

    /// As a crash does.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// As an operator does.
    pub(crate) fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        signal(&child, Signal::TERM);
        until("it ends", || child.try_wait().unwrap().is_some());
    }

    pub(crate) fn freeze(&self, frozen: bool) {
        signal(self.child.as_ref().unwrap(), if frozen { Signal::STOP } else { Signal::CONT });
    }

    pub(crate) fn cli(&self, words: &[&str]) -> Said {
        let socket = format!("unix://{}", self.path("rest.sock").display());
        said(Command::new(PROGRAM).args(words).env("LEISTER_SERVER", socket).output().unwrap())
    }

    /// Nothing is wrong, but that these hosts are one machine and have its names for storage.
    pub(crate) fn is_well(&self) {
        let said = self.cli(&["doctor"]);
        let wrong = said.out.lines().filter(|line| line.starts_with("error") || line.starts_with("warning"));
        let wrong: Vec<_> = wrong.filter(|line| !line.contains("they have one name")).collect();
        assert!(wrong.is_empty() && said.code <= 1, "{}: {said:?}\n{}", self.name, self.log());
    }

    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let said = self.cli(words);
        assert_eq!(said.code, 0, "{}: {words:?}: {said:?}\n{}", self.name, self.log());
        said.out
    }

    pub(crate) fn volumes(&self) -> Vec<String> {
        self.ok(&["get", "volumes", "-o", "name"]).lines().map(ToOwned::to_owned).collect()
    }

    /// Who leads, as this instance knows it.
    pub(crate) fn leader(&self) -> Option<String> {
        self.version()["leader"].as_str().map(ToOwned::to_owned)
    }

    pub(crate) fn version(&self) -> Value {
        let answer = self.get("/v1/version");
        answer.split_once("\r\n\r\n").map_or(Value::Null, |(_, body)| serde_json::from_str(body).unwrap())
    }

    /// A call as the Docker engine makes it.
    pub(crate) fn docker(&self, call: &str, body: &Value) -> Value {
        let value = self.call(call, body);
        assert_eq!(value["Err"].as_str().unwrap_or_default(), "", "{}: {call}\n{}", self.name, self.log());
        value
    }

    /// What the engine is told when it does not go.
    pub(crate) fn refused(&self, call: &str, body: &Value) -> String {
        self.call(call, body)["Err"].as_str().unwrap_or_default().to_owned()
    }

    fn call(&self, call: &str, body: &Value) -> Value {
        let body = body.to_string();
        let request = format!(
            "POST /{call} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = exchange(&self.path("plugins/leister.sock"), &request);
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{call}: {answer}"));
        serde_json::from_str(body).unwrap()
    }

    pub(crate) fn mount(&self, volume: &str, id: &str) -> PathBuf {
        let answer = self.docker("VolumeDriver.Mount", &json!({"Name": volume, "ID": id}));
        answer["Mountpoint"].as_str().unwrap().into()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        exchange(&self.path("rest.sock"), &request)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// The one that leads, out of these, when all that run agree.
pub(crate) fn leader(hosts: &[Host]) -> usize {
    let running = || hosts.iter().filter(|host| host.child.is_some());
    let started = Instant::now();
    loop {
        let said: Vec<Option<String>> = running().map(Host::leader).collect();
        let found =
            hosts.iter().position(|host| host.child.is_some() && Some(&host.name) == said[0].as_ref());
        match found {
            Some(found) if said.iter().all(|leader| *leader == said[0]) => return found,
            _ if started.elapsed() < LIMIT => std::thread::park_timeout(Duration::from_millis(50)),
            _ => {
                let logs: Vec<_> = running().map(Host::log).collect();
                panic!("they never agree on who leads: {said:?}\n{}", logs.join("\n"));
            }
        }
    }
}

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < LIMIT, "never: {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    started.elapsed()
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

pub(crate) fn said(output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// What came back; nothing while nobody listens.
fn exchange(socket: &Path, request: &str) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().unwrap_or_default()
}

/// Three hosts on three members, each beginning with another one.
pub(crate) fn three(cluster: &Cluster, site: &Site) -> Vec<Host> {
    let names = ["a", "b", "c"];
    names
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let order = (0..3).map(|member| cluster.endpoint((n + member) % 3)).collect::<Vec<_>>();
            site.start(name, &order.join(","))
        })
        .collect()
}
