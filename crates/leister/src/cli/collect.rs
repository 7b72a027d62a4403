//! `leister collect`: what somebody needs who looks for a fault from afar, in one file and without secrets.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use api::VolumeFilter;
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use regex::Regex;
use serde::Serialize;

use super::reach::Reach;
use super::{Code, Failure, Result};
use crate::output;

#[derive(Debug, Args)]
pub(crate) struct CollectArgs {
    /// Where it is written, as a compressed tar archive; it must not be there yet [default: leister-TIME.tar.gz]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A log of the server's to take along, its last 8 MiB; several are possible
    #[arg(long, value_name = "FILE")]
    log: Vec<PathBuf>,
    #[command(flatten)]
    reach: Reach,
}

const LONGEST_LOG: u64 = 8 << 20;

/// The archive, as it grows.
struct Bundle {
    tar: tar::Builder<GzEncoder<File>>,
    folder: String,
    /// What could not be had, a line each.
    missing: String,
    made: Timestamp,
}

pub(crate) async fn collect(args: CollectArgs) -> Result<()> {
    let made = Timestamp::now();
    let folder = format!("leister-{}", made.strftime("%Y%m%d-%H%M%S"));
    let path = args.file.unwrap_or_else(|| PathBuf::from(format!("{folder}.tar.gz")));
    // Before anybody is asked: what cannot be written need not be collected.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let file = file.map_err(|e| failed(&path, &e))?;
    let tar = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    let mut bundle = Bundle { tar, folder, missing: String::new(), made };
    let client = args.reach.client()?;
    let answers = client.version().await.map_err(Failure::from);
    let is_there = answers.is_ok();
    let written = async {
        bundle.json("version", answers)?;
        if is_there {
            bundle.json("doctor", client.doctor().await.map_err(Failure::from))?;
            bundle.json("backends", client.backends().await.map_err(Failure::from))?;
            bundle.json("pools", client.pools().await.map_err(Failure::from))?;
            bundle.json("classes", client.classes().await.map_err(Failure::from))?;
            bundle.json("nodes", client.nodes().await.map_err(Failure::from))?;
            let all = VolumeFilter::default();
            bundle.json("volumes", client.volumes(&all).await.map_err(Failure::from))?;
            bundle.json("snapshots", client.snapshots(None).await.map_err(Failure::from))?;
            bundle.json("operations", client.operations().await.map_err(Failure::from))?;
            bundle.text("metrics.txt", client.metrics().await.map_err(Failure::from))?;
        }
        bundle.text("machine.txt", Ok(machine()))?;
        for log in &args.log {
            let name = log.file_name().unwrap_or(log.as_os_str()).to_string_lossy();
            let read = end_of(log).map_err(|e| Failure::new(Code::Failed, format!("{}: {e}", log.display())));
            bundle.text(&format!("logs/{name}"), read)?;
        }
        bundle.end()
    };
    let missing = written.await.map_err(|e| failed(&path, &e))?;
    output::line(&format!(
        "{} is written; secrets are left out, names and addresses are not",
        path.display()
    ))?;
    if !is_there {
        let message =
            format!("the server at {} does not answer: only this machine is in it", client.server());
        return Err(Failure::new(Code::Unreachable, message).hint("name another one with --server"));
    }
    match missing.trim_end() {
        "" => Ok(()),
        missing => Err(Failure::new(Code::Failed, format!("not all could be had: {missing}"))),
    }
}

impl Bundle {
    fn json<T: Serialize>(&mut self, name: &str, had: Result<T>) -> io::Result<()> {
        let text = had.and_then(|value| {
            serde_json::to_string_pretty(&value)
                .map_err(|e| Failure::new(Code::Failed, format!("cannot be written: {e}")))
        });
        self.text(&format!("{name}.json"), text)
    }

    fn text(&mut self, name: &str, had: Result<String>) -> io::Result<()> {
        match had {
            Ok(text) => self.add(name, &without_secrets(&text)),
            Err(failure) => {
                // A `String` takes all that is written to it.
                let _ = writeln!(self.missing, "{name}: {}", without_secrets(&failure.message));
                Ok(())
            }
        }
    }

    fn add(&mut self, name: &str, text: &str) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(self.made.as_second()).unwrap_or_default());
        self.tar.append_data(&mut header, format!("{}/{name}", self.folder), text.as_bytes())
    }

    /// Completes it; says what is missing.
    fn end(mut self) -> io::Result<String> {
        let missing = std::mem::take(&mut self.missing);
        if !missing.is_empty() {
            self.add("missing.txt", &missing)?;
        }
        let mut file = self.tar.into_inner()?.finish()?;
        file.flush()?;
        Ok(missing)
    }
}

fn machine() -> String {
    let system = rustix::system::uname();
    let words = [system.sysname(), system.release(), system.version(), system.machine()];
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    format!("leister {}\n{}\n{release}", env!("CARGO_PKG_VERSION"), words.join(" "))
}

fn end_of(log: &Path) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_LOG)))?;
    let mut end = Vec::new();
    file.take(LONGEST_LOG).read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).into_owned())
}

/// What follows a word that announces a secret, and passwords in addresses, become stars.
fn without_secrets(text: &str) -> String {
    static ANNOUNCED: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let word = r#"[\w.-]*(?:password|passwd|passphrase|secret|token|authorization|private.?key)[\w.-]*"#;
        let value = r#"(?:(?:basic|bearer)\s+)?(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\s,;}\]]+)"#;
        Regex::new(&format!(r#"(?i)({word}\\?["']?\s*[:=]\s*)\\?{value}"#)).ok()
    });
    static IN_ADDRESS: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(://[^/\s:@]+:)[^@\s/]+@").ok());
    let mut text = text.to_owned();
    for (pattern, instead) in [(&ANNOUNCED, "$1***"), (&IN_ADDRESS, "$1***@")] {
        if let Some(pattern) = pattern.as_ref() {
            text = pattern.replace_all(&text, instead).into_owned();
        }
    }
    text
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new(Code::Failed, format!("cannot write {}: {error}", path.display()));
    match error.kind() {
        io::ErrorKind::AlreadyExists => failure.hint("remove it, or choose another with --file"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_announces_a_secret_keeps_its_name_alone() {
        for (text, left) in [
            (r#"{"password": "geheim", "size": 1}"#, r#"{"password": ***, "size": 1}"#),
            (r#""chapInitiatorSecret":"a \" b""#, r#""chapInitiatorSecret":***"#),
            ("password=geheim user=admin", "password=*** user=admin"),
            ("Authorization: Basic Z2VoZWlt", "Authorization: ***"),
            ("luks-passphrase: 'a b c', next", "luks-passphrase: ***, next"),
            ("to https://admin:geheim@array/api", "to https://admin:***@array/api"),
            (r#"{\"token\":\"geheim\"}"#, r#"{\"token\":***}"#),
            ("the volume `secret` is gone", "the volume `secret` is gone"),
            ("size: 1GiB", "size: 1GiB"),
        ] {
            assert_eq!(without_secrets(text), left);
        }
    }
}
