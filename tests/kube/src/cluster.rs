//! The cluster as a whole, and what its user does with it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::door::Door;
use crate::helm::Helm;
use crate::image::Product;
use crate::programs::Programs;
use crate::space::Space;
use crate::{audit, containers, image, kubelet, leister};
use docker_suite::until;
use docker_suite::{Said, find};
use rig::Rig;

/// The one node.
pub const NODE: &str = "node1";
const ADMIN: &str = "admin";
const LIMIT: Duration = Duration::from_secs(180);
/// How often the controller manager may ask, where two hundred claims are bound and freed at once: by itself 20 times a
/// second, which is all that it would be waited for.
const BUSY: [&str; 2] = ["--kube-api-qps=100", "--kube-api-burst=200"];

/// A running cluster. Dropping it ends everything in it.
pub struct Cluster {
    daemons: Mutex<BTreeMap<String, Daemon>>,
    space: Space,
    programs: Programs,
    folder: PathBuf,
    cgroup: String,
}

impl Cluster {
    /// Starts everything but Leister.
    ///
    /// # Errors
    /// What does not start; the message has the end of its log.
    pub fn start() -> Result<Self> {
        let cluster = Self::begin(None, &[NODE])?;
        cluster.node()?;
        Ok(cluster)
    }

    /// Starts a cluster without nodes: what is asked of its apiserver alone.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_without_nodes() -> Result<Self> {
        Self::begin(None, &[])
    }

    /// Starts a cluster without nodes on the networks of a rig: its machines are to join it, under these names.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_on(rig: &Rig, nodes: &[&str]) -> Result<Self> {
        Self::begin(Some(rig), nodes)
    }

    fn begin(rig: Option<&Rig>, nodes: &[&str]) -> Result<Self> {
        let programs = Programs::get()?;
        // Removed by the keeper, when nobody works in it any more.
        let folder = tempfile::Builder::new().prefix("kube-").tempdir()?.keep();
        let cgroup = format!("leister-{}", folder.file_name().unwrap_or_default().to_string_lossy());
        let space = Space::new(&folder, &cgroup, rig)?;
        let cluster = Self { daemons: Mutex::default(), space, programs, folder, cgroup };
        let folder = cluster.path("images");
        image::write(&folder, &cluster.images(), &image::for_pods(&folder)?)?;
        cluster.control_plane(nodes, if rig.is_some() { &BUSY } else { &[] })?;
        Ok(cluster)
    }

    fn control_plane(&self, nodes: &[&str], pace: &[&str]) -> Result<()> {
        let path = |name: &str| self.path(name).display().to_string();
        let etcd = find("etcd").context("etcd is not installed")?;
        self.serve_program(
            "etcd",
            etcd,
            vec![
                format!("--data-dir={}", path("etcd")),
                "--unsafe-no-fsync".into(),
                "--listen-client-urls=http://0.0.0.0:2379".into(),
                "--advertise-client-urls=http://127.0.0.1:2379".into(),
            ],
        )?;
        let accounts = rcgen::KeyPair::generate()?;
        fs::write(self.path("sa.key"), accounts.serialize_pem())?;
        fs::write(self.path("sa.pub"), accounts.public_key_pem())?;
        let node =
            |(at, name): (usize, &&str)| format!("{name},system:node:{name},{},system:nodes\n", at + 2);
        let nodes: String = nodes.iter().enumerate().map(node).collect();
        fs::write(self.path("tokens"), format!("{ADMIN},{ADMIN},1,system:masters\n{nodes}"))?;
        let admin = self.kubeconfig(ADMIN, ADMIN)?;
        let to_server = format!("--kubeconfig={}", admin.display());
        let [policy, log] = audit::words(&self.folder)?;
        let words = [
            policy,
            log,
            "--etcd-servers=http://127.0.0.1:2379".into(),
            "--advertise-address=10.99.0.1".into(),
            "--allow-privileged".into(),
            "--authorization-mode=Node,RBAC".into(),
            "--enable-admission-plugins=NodeRestriction".into(),
            "--endpoint-reconciler-type=none".into(),
            "--kubelet-preferred-address-types=InternalIP".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            "--service-cluster-ip-range=10.98.0.0/24".into(),
            format!("--cert-dir={}", path("apiserver")),
            format!("--service-account-key-file={}", path("sa.pub")),
            format!("--service-account-signing-key-file={}", path("sa.key")),
            format!("--token-auth-file={}", path("tokens")),
        ];
        self.serve("kube-apiserver", words.into())?;
        until("the apiserver", LIMIT, || {
            self.check()
                .err()
                .map(Err)
                .or_else(|| self.ask(&["get", "--raw", "/readyz"]).ok()?.ok().ok().map(|_| Ok(())))
        })??;
        let words = [
            to_server.clone(),
            "--leader-elect=false".into(),
            format!("--cert-dir={}", path("kube-controller-manager")),
            format!("--service-account-private-key-file={}", path("sa.key")),
            format!("--root-ca-file={}", path("apiserver/apiserver.crt")),
        ];
        let words = words.into_iter().chain(pace.iter().map(|&word| word.to_owned()));
        self.serve("kube-controller-manager", words.collect())?;
        let words =
            [to_server, "--leader-elect=false".into(), format!("--cert-dir={}", path("kube-scheduler"))];
        self.serve("kube-scheduler", words.into())
    }

    fn node(&self) -> Result<()> {
        let containerd = containers::daemon(&self.folder, &self.log_file("containerd"))?;
        self.add(containerd)?;
        containers::fill(&self.space, &self.images())?;
        let kubeconfig = self.kubeconfig(NODE, NODE)?;
        let log = self.log_file("kubelet");
        self.add(kubelet::daemon(&self.programs, &self.folder, &self.cgroup, &kubeconfig, &log)?)?;
        until("the node", LIMIT, || {
            self.check().err().map(Err).or_else(|| self.ask(&["get", "node", NODE]).ok()?.ok().ok().map(Ok))
        })??;
        self.wait(&format!("node/{NODE}"), "condition=Ready")?;
        // A pod is refused before it is there.
        let account = || self.ask(&["get", "serviceaccount", "default"]).ok()?.ok().ok();
        until("the default service account", LIMIT, account).map(drop)
    }

    /// Starts Leister as a plain process on the node, and waits until the node has its plugin.
    ///
    /// # Errors
    /// It does not start, or is not registered.
    pub fn serve_leister(&self, words: &[&str]) -> Result<()> {
        self.add(leister::daemon(&self.folder, &self.log_file("leister"), words)?)?;
        self.wait_for_plugin()
    }

    /// # Errors
    /// The node does not get the plugin.
    pub fn wait_for_plugin(&self) -> Result<()> {
        let looked = until("the node to have the plugin", LIMIT, || {
            self.check()
                .err()
                .map(Err)
                .or_else(|| self.plugins().ok().filter(|p| !p.is_empty()).map(|_| Ok(())))
        });
        let log = |name: &str| self.with(name, |daemon| Ok(daemon.end_of_log())).unwrap_or_default();
        looked.with_context(|| format!("{}\n{}", log("leister"), log("kubelet")))?
    }

    /// The CSI plugins that the node has.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub fn plugins(&self) -> Result<Vec<String>> {
        let node = self.get(&format!("csinode/{NODE}"))?;
        let drivers = node["spec"]["drivers"].as_array().cloned().unwrap_or_default();
        Ok(drivers.iter().filter_map(|driver| driver["name"].as_str().map(str::to_owned)).collect())
    }

    /// A user's command, as administrator.
    ///
    /// # Errors
    /// It does not start or hangs; not when it fails.
    pub fn kubectl(&self, words: &[&str]) -> Result<Said> {
        let mut command = self.space.command(&self.programs.path("kubectl"));
        let config = self.path("admin.kubeconfig");
        command.arg(format!("--kubeconfig={}", config.display())).args(words);
        // It keeps what it learned of the server there.
        command.env("HOME", &self.folder);
        self.space.run(&mut command, LIMIT)
    }

    /// What somebody does who installs things in the cluster, as administrator.
    ///
    /// # Errors
    /// It does not start or hangs; not when it fails.
    pub fn helm(&self, helm: &Helm, words: &[&str]) -> Result<Said> {
        let mut command = self.space.command(helm.program());
        command.arg(format!("--kubeconfig={}", self.path("admin.kubeconfig").display())).args(words);
        command.env("HOME", &self.folder);
        self.space.run(&mut command, LIMIT)
    }

    /// Gives the node the product's image, made of the program under test, and those of sidecars.
    ///
    /// # Errors
    /// They cannot be made, or the node does not take them.
    pub fn load_images(&self, sidecars: &[String]) -> Result<()> {
        let folder = self.path("product");
        fs::create_dir_all(&folder)?;
        let mut images = image::sidecars(&folder, &self.programs, sidecars)?;
        images.push(Product::new(&leister::program()?).image(&folder)?);
        let archive = self.path("product.tar");
        image::write(&folder.join("archive"), &archive, &images)?;
        containers::fill(&self.space, &archive)?;
        fs::remove_file(&archive)?;
        Ok(fs::remove_dir_all(&folder)?)
    }

    /// The same for people: a line of a shell's, to which they add their words.
    pub fn kubectl_line(&self) -> String {
        let config = self.path("admin.kubeconfig");
        format!("{} --kubeconfig={}", self.line(&self.programs.path("kubectl")), config.display())
    }

    /// The same for `leister`, against the instance with this socket.
    ///
    /// # Errors
    /// There is no such program.
    pub fn leister_line(&self, socket: &str) -> Result<String> {
        let (program, socket) = (leister::program()?, self.path(socket));
        Ok(format!("env LEISTER_SERVER=unix://{} {}", socket.display(), self.line(&program)))
    }

    fn line(&self, program: &Path) -> String {
        let command = self.space.command(program);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    /// The same for a cluster that may not be there yet, and then keeps some waiting for a minute.
    fn ask(&self, words: &[&str]) -> Result<Said> {
        self.kubectl(&[&["--request-timeout=5s"], words].concat())
    }

    /// # Errors
    /// It is refused.
    pub fn apply(&self, text: &str) -> Result<()> {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile_in(&self.folder)?;
        fs::write(file.path(), text)?;
        self.kubectl(&["apply", "-f", &file.path().display().to_string()])?.ok().map(drop)
    }

    /// Waits until `kubectl wait --for` says so, and tells how long that took.
    ///
    /// # Errors
    /// It is not so at the limit; the message describes the object.
    pub fn wait(&self, what: &str, condition: &str) -> Result<Duration> {
        let started = Instant::now();
        let said = self.kubectl(&["wait", what, &format!("--for={condition}"), "--timeout=120s"])?;
        if let Err(error) = said.ok() {
            let described = self.kubectl(&["describe", what]).and_then(Said::ok).unwrap_or_default();
            return Err(
                error.context(format!("{what} is not {condition}:\n{described}\n{}", self.evidence()))
            );
        }
        Ok(started.elapsed())
    }

    /// # Errors
    /// It is not there.
    pub fn get(&self, what: &str) -> Result<Value> {
        let text = self.kubectl(&["get", what, "-o", "json"])?.ok()?;
        serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
    }

    /// What a service account proves itself with: namespace and name.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn token(&self, (namespace, account): (&str, &str)) -> Result<String> {
        self.kubectl(&["create", "token", account, "-n", namespace, "--duration=24h"])?.ok()
    }

    /// A kubeconfig with the rights of a service account.
    ///
    /// # Errors
    /// There is no such account.
    pub fn config_of(&self, name: &str, account: (&str, &str)) -> Result<PathBuf> {
        self.kubeconfig(name, &self.token(account)?)
    }

    /// Starts `leister` with words of its own, beside the one that serves the node.
    ///
    /// # Errors
    /// It does not start.
    pub fn serve_leister_as(&self, name: &str, words: &[&str]) -> Result<()> {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        let daemon = Daemon::new(name, leister::program()?, words, self.log_file(name));
        self.add(daemon.at_first(leister::older()))
    }

    /// A way to the apiserver from outside, and the kubeconfig of an administrator who uses it.
    ///
    /// # Errors
    /// There is no port for it.
    pub fn door(&self) -> Result<(Door, PathBuf)> {
        let door = Door::new(self.space.network()?)?;
        let port = door.address().port();
        let file = self.path(&format!("door-{port}.kubeconfig"));
        let inside = kubeconfig("127.0.0.1", ADMIN, ADMIN);
        fs::write(&file, inside.replace(":6443", &format!(":{port}")))?;
        Ok((door, file))
    }

    /// Starts a program that belongs to the cluster itself, with all rights.
    ///
    /// # Errors
    /// It does not start.
    pub fn serve_controller(&self, name: &str, words: &[&str]) -> Result<()> {
        let mut all = vec![format!("--kubeconfig={}", self.path("admin.kubeconfig").display())];
        all.extend(words.iter().map(|word| (*word).to_owned()));
        self.serve(name, all)
    }

    /// Lets somebody do something with one of the programs: see the methods of the same names.
    fn with<T>(&self, name: &str, work: impl FnOnce(&mut Daemon) -> Result<T>) -> Result<T> {
        let mut daemons = self.daemons.lock().unwrap_or_else(PoisonError::into_inner);
        work(daemons.get_mut(name).with_context(|| format!("{name} was never started"))?)
    }

    /// Kills a program as a loss of power would.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&self, name: &str) -> Result<()> {
        self.with(name, Daemon::kill)
    }

    /// Ends a program as an operator would.
    ///
    /// # Errors
    /// It does not run, or ends badly.
    pub fn stop(&self, name: &str) -> Result<()> {
        self.with(name, Daemon::stop)
    }

    /// Starts a program again that was killed or stopped.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_again(&self, name: &str) -> Result<()> {
        self.with(name, |daemon| daemon.start(&self.space))
    }

    /// Everything that a program has logged.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn log(&self, name: &str) -> Result<String> {
        self.with(name, |daemon| Ok(daemon.log()))
    }

    /// # Errors
    /// One of the programs has ended by itself.
    pub fn check(&self) -> Result<()> {
        let mut daemons = self.daemons.lock().unwrap_or_else(PoisonError::into_inner);
        daemons.values_mut().try_for_each(Daemon::check)
    }

    /// Runs a command inside, beside the programs.
    ///
    /// # Errors
    /// It does not start or hangs; not when it fails.
    pub fn shell(&self, script: &str) -> Result<Said> {
        let mut command = self.space.command(Path::new("/bin/sh"));
        self.space.run(command.args(["-c", script]), LIMIT)
    }

    /// `leister` with these words, against the one that serves here.
    ///
    /// # Errors
    /// It does not start or hangs; not when it fails.
    pub fn leister(&self, words: &[&str]) -> Result<Said> {
        let mut command = self.space.command(&leister::program()?);
        self.space.run(command.args(words), LIMIT)
    }

    /// Where everything of it lies; seen from outside without what is mounted there.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// An archive of the images that pods are made of.
    pub(crate) fn images(&self) -> PathBuf {
        self.path("images.tar")
    }

    /// The ends of the logs.
    pub fn evidence(&self) -> String {
        let daemons = self.daemons.lock().unwrap_or_else(PoisonError::into_inner);
        let end = |daemon: &Daemon| format!("--- {}\n{}\n", daemon.name, daemon.end_of_log());
        daemons.values().map(end).collect()
    }

    fn serve(&self, name: &str, words: Vec<String>) -> Result<()> {
        self.serve_program(name, self.programs.path(name), words)
    }

    pub(crate) fn serve_program(&self, name: &str, program: PathBuf, words: Vec<String>) -> Result<()> {
        self.add(Daemon::new(name, program, words, self.log_file(name)))
    }

    fn add(&self, mut daemon: Daemon) -> Result<()> {
        daemon.start(&self.space)?;
        let mut daemons = self.daemons.lock().unwrap_or_else(PoisonError::into_inner);
        daemons.insert(daemon.name.clone(), daemon);
        Ok(())
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.log"))
    }

    fn kubeconfig(&self, user: &str, token: &str) -> Result<PathBuf> {
        let file = self.path(&format!("{user}.kubeconfig"));
        fs::write(&file, kubeconfig("127.0.0.1", user, token))?;
        Ok(file)
    }

    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }
}

/// How a client reaches the apiserver at an address.
pub(crate) fn kubeconfig(server: &str, user: &str, token: &str) -> String {
    let server = format!("https://{server}:6443");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": { "server": server, "insecure-skip-tls-verify": true } }],
        "users": [{ "name": user, "user": { "token": token } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": user } }],
    });
    config.to_string()
}
