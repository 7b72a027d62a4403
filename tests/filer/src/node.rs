//! A host that uses the storage.

use anyhow::{Context as _, Result};
use rig::{Guest, Output, Rig, services};
use serde_json::{Value, json};

use crate::filer::Filer;
use crate::process::{LIMIT, Process, program};

/// How a node shall use a filer.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// The instance's, and so the volume driver's: a node may have several.
    pub name: String,
    /// Whose volumes: the name in its certificate.
    pub tenant: String,
    /// More lines of the backend's file.
    pub backend: String,
    /// Its verb: `run`, or `node`, which has no backends of its own.
    pub verb: &'static str,
    /// More words behind it.
    pub arguments: String,
}

impl NodeSpec {
    pub fn new(tenant: &str) -> Self {
        let name = "leister".to_owned();
        let (backend, arguments) = (String::new(), String::new());
        Self { name, tenant: tenant.to_owned(), backend, verb: "run", arguments }
    }
}

/// `leister run` in a guest, with one backend `filer`. There is no engine: [`Node::plugin`] says what one would.
#[derive(Debug)]
pub struct Node<'a> {
    process: Process<'a>,
    spec: NodeSpec,
}

impl<'a> Node<'a> {
    /// Starts what a node needs for NFS and iSCSI, gives it its certificate and its backend, starts `leister run` and
    /// waits until it is ready.
    ///
    /// # Errors
    /// When the program is not there, or a guest is down.
    ///
    /// # Panics
    /// When something in the guest fails; the message has what it said.
    pub fn up(rig: &'a Rig, guest: &str, filer: &Filer<'_>, spec: NodeSpec) -> Result<Self> {
        let certificates = format!("/etc/{}/trust", spec.name);
        for (file, content) in filer.issue(&spec.tenant)? {
            rig.guest(guest).put(&format!("{certificates}/{file}"), content)?;
        }
        let backend = format!("{}{}", filer.backend("filer", &certificates), spec.backend);
        Self::over(rig, guest, spec, &[("filer".to_owned(), backend)])
    }

    /// Starts what a node needs for NFS, iSCSI and NVMe, gives it these backend files, by name and text, starts
    /// `leister run` and waits until it is ready.
    ///
    /// # Errors
    /// As [`Node::up`].
    ///
    /// # Panics
    /// As [`Node::up`].
    pub fn over(rig: &'a Rig, guest: &str, spec: NodeSpec, backends: &[(String, String)]) -> Result<Self> {
        let guest = rig.guest(guest);
        services::nfs_client(guest).ok("a node that mounts NFS");
        // What has lost all its paths waits for them, as a hard mount of NFS does.
        let settings = "defaults {\n find_multipaths strict\n recheck_wwid yes\n polling_interval 2\n max_polling_interval 2\n}\n\
            overrides {\n no_path_retry queue\n}\n";
        services::block_client(guest, settings).ok("a node that uses blocks");
        let node = Self { process: Process { guest, name: spec.name.clone() }, spec };
        for (name, text) in backends {
            guest.put(&format!("{}/{name}.yaml", node.backends()), text)?;
        }
        node.start()?;
        Ok(node)
    }

    pub fn guest(&self) -> &'a Guest {
        self.process.guest
    }

    /// Starts `leister` and waits until it is ready.
    ///
    /// # Errors
    /// When the program is not there.
    ///
    /// # Panics
    /// When it does not become ready in time; the message has its log.
    pub fn start(&self) -> Result<()> {
        let NodeSpec { name, verb, arguments, .. } = &self.spec;
        let words = match *verb {
            "run" => format!("run --name {name} --config {} {arguments}", self.backends()),
            verb => format!("{verb} --name {name} {arguments}"),
        };
        self.process.start(&words)?.ok("start");
        let look = format!(
            "kill -0 $(cat /run/{name}.pid) || exit 1
            curl -sSf -m 10 --unix-socket /run/leister/{name}.sock http://leister/readyz"
        );
        let ready = self.guest().wait_for(&look, LIMIT);
        assert!(ready.is_ok(), "leister is not ready: {ready:?}\n{}", self.log());
        Ok(())
    }

    /// Kills the process as `kill -9` does.
    ///
    /// # Panics
    /// When it was not running.
    pub fn kill(&self) {
        self.process.end("KILL").ok("kill");
    }

    /// Asks the process to end, and waits for that.
    ///
    /// # Panics
    /// When it was not running.
    pub fn stop(&self) {
        self.process.end("TERM").ok("stop");
    }

    /// What the engine asks a volume plugin, such as `Create`; its answer, with `Err` in it when it is refused.
    ///
    /// # Errors
    /// When the plugin does not answer.
    pub fn plugin(&self, call: &str, body: &Value) -> Result<Value> {
        let script = format!(
            "curl -sS -m 100 --unix-socket /run/docker/plugins/{}.sock -d @- \
             http://plugin/VolumeDriver.{call} <<'BODY'\n{body}\nBODY",
            self.spec.name
        );
        let said = self.guest().exec_within(LIMIT, &script);
        anyhow::ensure!(said.is_ok(), "{call} {body}: {}", said.stderr.trim());
        serde_json::from_str(&said.stdout).with_context(|| format!("{call} {body}: {}", said.stdout))
    }

    /// Creates a volume with options as `docker volume create -o` has them.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn create(&self, volume: &str, options: &[(&str, &str)]) {
        let options: serde_json::Map<_, _> =
            options.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        done(self.plugin("Create", &json!({ "Name": volume, "Opts": options })));
    }

    /// Mounts a volume for a container of this name; where it is.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn mount(&self, volume: &str, container: &str) -> String {
        let answer = done(self.plugin("Mount", &json!({ "Name": volume, "ID": container })));
        answer["Mountpoint"].as_str().unwrap_or_default().to_owned()
    }

    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn unmount(&self, volume: &str, container: &str) {
        done(self.plugin("Unmount", &json!({ "Name": volume, "ID": container })));
    }

    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn remove(&self, volume: &str) {
        done(self.plugin("Remove", &json!({ "Name": volume })));
    }

    /// Runs `leister` with these words against this node's.
    ///
    /// # Errors
    /// When the program is not there.
    pub fn cli(&self, words: &str) -> Result<Output> {
        let program = program()?;
        let server = format!("unix:///run/leister/{}.sock", self.spec.name);
        let script = format!("LEISTER_SERVER={server} {} {words}", program.display());
        Ok(self.exec(&script))
    }

    /// As [`Guest::exec_within`], on the node.
    pub fn exec(&self, script: &str) -> Output {
        self.guest().exec_within(LIMIT, script)
    }

    /// Everything it has logged, over all its starts.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The folder with its backends.
    fn backends(&self) -> String {
        format!("/etc/{}/backends", self.spec.name)
    }
}

#[track_caller]
fn done(answer: Result<Value>) -> Value {
    match answer {
        Ok(answer) if answer["Err"].as_str().is_none_or(str::is_empty) => answer,
        refused => panic!("{refused:?}"),
    }
}
