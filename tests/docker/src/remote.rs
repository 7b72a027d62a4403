//! A user of an instance: the CLI, over the API's socket.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::said::{Said, run};

/// A user of one instance. Outlives its kills and restarts.
#[derive(Debug, Clone)]
pub struct Remote {
    /// The instance's.
    folder: PathBuf,
}

impl Remote {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf() }
    }

    /// Runs `leister` with these words against this instance.
    ///
    /// # Errors
    /// When it does not start or hangs; not when it fails.
    pub fn cli(&self, words: &[&str]) -> Result<Said> {
        let server = format!("unix://{}", self.socket().display());
        run(Command::new(program()?).env("LEISTER_SERVER", server).args(words))
    }

    /// Writes a file and runs `leister create <kind> -f` with it.
    ///
    /// # Errors
    /// When it is refused.
    pub fn create_from(&self, kind: &str, text: &str) -> Result<()> {
        let file = self.folder.join(format!("{kind}.yaml"));
        std::fs::write(&file, text)?;
        self.cli(&["create", kind, "-f", &file.display().to_string()])?.ok().map(drop)
    }

    /// What `leister get <kind> -o json` lists.
    ///
    /// # Errors
    /// When it is refused, or writes no list.
    pub fn list(&self, kind: &str) -> Result<Vec<Value>> {
        let text = self.cli(&["get", kind, "-o", "json"])?.ok()?;
        let value: Value = serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
        match value {
            Value::Array(items) => Ok(items),
            Value::Object(mut page) => match page.remove("items") {
                Some(Value::Array(items)) => Ok(items),
                _ => bail!("no list of {kind}: {text}"),
            },
            _ => bail!("no list of {kind}: {text}"),
        }
    }

    /// Whether `/readyz` says yes now.
    pub fn is_ready(&self) -> bool {
        self.get("/readyz").is_ok_and(|status| status == 200)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("api.sock")
    }

    /// The status of a GET over the API's socket.
    fn get(&self, path: &str) -> Result<u16> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: leister\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).context("no HTTP answer")?;
        Ok(status.parse()?)
    }
}

/// The program under test: what `LEISTER_BIN` names, or what this workspace builds, built now if it is missing.
pub(crate) fn program() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("LEISTER_BIN") {
        return Ok(program.into());
    }
    let here = std::env::current_exe()?;
    let folder = here.ancestors().find(|folder| folder.join("deps").is_dir()).context("no build folder")?;
    let program = folder.join("leister");
    if !program.exists() {
        run(Command::new("cargo").args(["build", "--package", "leister"]))?.ok()?;
    }
    Ok(program)
}
