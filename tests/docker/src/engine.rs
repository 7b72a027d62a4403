//! A Docker Engine of our own: its socket, data and containers are nobody else's.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use tempfile::TempDir;

use crate::said::{Said, find, run};
use crate::wait::until;
use crate::{image, undo};

/// The image every container here is made of.
pub(crate) const IMAGE: &str = "busybox";
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// What the engine's mount namespace looks like: its own folder of plugins, and nobody else's temporary mounts,
/// which it would keep busy.
const ENTER: &str = r#"
set -e
folder=$1; shift
mkdir -p /run/docker/plugins
mount --bind "$folder/plugins" /run/docker/plugins
cut -d ' ' -f 5 /proc/self/mountinfo | tac | while read -r target; do
    case $target in
    "$folder" | "$folder"/*) ;;
    "${folder%/*}"/*) umount --lazy "$target" || true ;;
    esac
done
exec "$@"
"#;

/// A running engine. Dropping it removes its containers, stops it, and undoes its mounts.
///
/// # Behavior
/// Other engines on the machine are neither touched nor seen: engines look for volume plugins in one fixed folder,
/// so this one lives in a mount namespace where that folder is [`Engine::plugins`]. Mounts made below
/// [`Engine::folder`] are seen by it.
pub struct Engine {
    folder: TempDir,
    daemon: Child,
    docker: PathBuf,
    cgroup: String,
}

impl Engine {
    /// Starts an engine and gives it the image `busybox`.
    ///
    /// # Errors
    /// When a program is missing or the engine does not come up; the message has the end of its log.
    pub fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("docker-").tempdir()?;
        let path = |name: &str| folder.path().join(name);
        let dockerd = find("dockerd").context("dockerd is not installed")?;
        let docker = find("docker").context("docker is not installed")?;
        let cgroup =
            format!("leister-test-{}", folder.path().file_name().unwrap_or_default().to_string_lossy());
        // The settings of the machine's own engine are not ours, and it has a key in /etc otherwise.
        let key = path("key.json");
        std::fs::write(path("daemon.json"), serde_json::json!({ "deprecated-key-path": key }).to_string())?;
        let log = File::create(path("log"))?;
        std::fs::create_dir(path("plugins"))?;
        share(folder.path())?;
        let daemon = Command::new(find("unshare").context("unshare is not installed")?)
            .args(["--mount", "--propagation", "slave", "sh", "-c", ENTER, "sh"])
            .arg(folder.path())
            .arg(dockerd)
            .arg("--config-file")
            .arg(path("daemon.json"))
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .arg("--host")
            .arg(format!("unix://{}", path("sock").display()))
            .arg("--cgroup-parent")
            .arg(format!("/{cgroup}"))
            .args(["--bridge=none", "--iptables=false", "--ip-forward=false", "--userland-proxy=false"])
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("dockerd did not start")?;
        let mut engine = Self { folder, daemon, docker, cgroup };
        engine.become_ready()?;
        Ok(engine)
    }

    /// The engine that all tests of one executable share. The last one to let go of it stops it.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn shared() -> Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Engine>> = Mutex::new(Weak::new());
        // A test that panicked here left no engine; the next one starts its own.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = shared.upgrade() {
            return Ok(engine);
        }
        let engine = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&engine);
        Ok(engine)
    }

    /// Runs `docker` with these words.
    ///
    /// # Errors
    /// When it does not start or hangs; not when it fails.
    pub fn docker(&self, words: &[&str]) -> Result<Said> {
        run(self.client(&self.docker).args(words))
    }

    /// Runs a shell command in a new container that sees one volume at `/data`.
    ///
    /// # Errors
    /// When `docker` does not start or hangs; not when the command fails.
    pub fn shell(&self, volume: &str, command: &str) -> Result<Said> {
        let mount = format!("{volume}:/data");
        self.docker(&["run", "--rm", "--network=none", "-v", &mount, IMAGE, "sh", "-c", command])
    }

    /// Starts a container that runs a shell command in the background and sees one volume at `/data`.
    ///
    /// # Errors
    /// When the container does not start.
    pub fn background(&self, name: &str, volume: &str, command: &str) -> Result<()> {
        let mount = format!("{volume}:/data");
        let words = ["run", "-d", "--network=none", "--name", name, "-v", &mount, IMAGE, "sh", "-c", command];
        self.docker(&words)?.ok().map(drop)
    }

    /// Runs `docker-compose` with a file.
    ///
    /// # Errors
    /// When it is not installed or hangs; not when it fails.
    pub fn compose(&self, file: &Path, words: &[&str]) -> Result<Said> {
        let compose = find("docker-compose").context("docker-compose is not installed")?;
        run(self.client(&compose).arg("-f").arg(file).args(words))
    }

    /// Where everything of it lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it looks for volume plugins.
    pub fn plugins(&self) -> PathBuf {
        self.folder.path().join("plugins")
    }

    /// The engine's own pid.
    pub fn pid(&self) -> u32 {
        self.daemon.id()
    }

    fn client(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("DOCKER_HOST", format!("unix://{}", self.folder.path().join("sock").display()))
            .env("DOCKER_CONFIG", self.folder.path())
            .env_remove("DOCKER_CONTEXT")
            .env_remove("DOCKER_TLS_VERIFY");
        command
    }

    fn become_ready(&mut self) -> Result<()> {
        let ended = until("the Docker Engine to be ready", START_LIMIT, || {
            let answers = self
                .docker(&["version", "--format", "{{.Server.Version}}"])
                .is_ok_and(|said| said.ok().is_ok());
            if answers { Some(None) } else { self.daemon.try_wait().ok().flatten().map(Some) }
        });
        let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        match ended {
            Ok(None) => {}
            Ok(Some(status)) => bail!("the Docker Engine ended ({status}): {}", tail(&log())),
            Err(late) => bail!("{late}: {}", tail(&log())),
        }
        let archive = self.folder.path().join("image.tar");
        image::write(&self.folder.path().join("image"), &archive)?;
        self.docker(&["import", &archive.display().to_string(), IMAGE])?.ok()?;
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Ok(containers) = self.docker(&["ps", "--all", "--quiet"]) {
            let mut words = vec!["rm", "--force", "--volumes"];
            words.extend(containers.out.lines());
            if words.len() > 3 {
                let _ = self.docker(&words);
            }
        }
        undo::stop(&mut self.daemon, STOP_LIMIT);
        undo::sweep(self.folder.path());
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().filter_map(Result::ok) {
            // Not every hierarchy has one; on a unified one it is right below.
            let _ = std::fs::remove_dir(hierarchy.path().join(&self.cgroup));
        }
        let _ = std::fs::remove_dir(Path::new("/sys/fs/cgroup").join(&self.cgroup));
    }
}

/// Makes a folder a mount of its own that other mount namespaces follow.
fn share(folder: &Path) -> Result<()> {
    mount_bind(folder, folder).context("cannot mount the engine's folder on itself")?;
    mount_change(folder, MountPropagationFlags::SHARED).context("cannot share the engine's folder")
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
