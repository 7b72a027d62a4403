//! What runs in the node: a writer that keeps account of what was acknowledged, and the audit of that account.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::record::{SIZE, flaw, record};

/// At most so many records a second fit a small volume for minutes.
const PACE: Duration = Duration::from_millis(5);

/// Between a write that failed and its next try.
const PAUSE: Duration = Duration::from_millis(200);

/// One line of a writer's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Said {
    /// What tells this file's records from those of another.
    Began { run: u64 },
    /// `fsync` has returned: the record must be readable from now on.
    Acknowledged { number: u64 },
    /// The application got an error, so many milliseconds after it asked.
    Failed { number: u64, errno: i32, text: String, after: u64 },
}

/// What came of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    pub acknowledged: u64,
    /// Bytes of records that were acknowledged and are not there.
    pub lost: u64,
    /// What was found in their place, of the first few.
    pub flaws: Vec<String>,
}

/// Writes records without end, each flushed before the next; goes on after errors, and where its account ends.
///
/// # Errors
/// When the account cannot be kept.
pub fn write(file: &Path, account: &Path) -> Result<()> {
    let said = read(account).unwrap_or_default();
    let mut log =
        OpenOptions::new().create(true).append(true).open(account).context("cannot keep account")?;
    let run = match begun(&said) {
        Some(run) => run,
        None => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let run = now.as_secs() ^ u64::from(now.subsec_nanos()).rotate_left(32);
            say(&mut log, &Said::Began { run })?;
            run
        }
    };
    let mut number = acknowledged(&said).max().map_or(0, |last| last + 1);
    let mut open = None;
    loop {
        let asked = Instant::now();
        match write_one(&mut open, file, run, number) {
            Ok(()) => {
                say(&mut log, &Said::Acknowledged { number })?;
                number += 1;
                pause(PACE);
            }
            Err(error) => {
                open = None;
                let after = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
                let errno = error.raw_os_error().unwrap_or_default();
                say(&mut log, &Said::Failed { number, errno, text: error.to_string(), after })?;
                pause(PAUSE);
            }
        }
    }
}

/// Reads what was acknowledged.
///
/// # Errors
/// When the account cannot be read. A file that cannot be is lost.
pub fn check(file: &Path, account: &Path) -> Result<Checked> {
    let said = read(account)?;
    let run = begun(&said).context("the account has no beginning")?;
    let mut checked = Checked { acknowledged: 0, lost: 0, flaws: Vec::new() };
    let opened = File::open(file);
    for number in acknowledged(&said) {
        checked.acknowledged += 1;
        let mut bytes = Vec::new();
        let read = match &opened {
            Ok(file) => read_one(file, number, &mut bytes).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Some(flaw) = read.map_or_else(Some, |()| flaw(run, number, &bytes)) {
            checked.lost += SIZE as u64;
            if checked.flaws.len() < 5 {
                checked.flaws.push(format!("the place of record {number} {flaw}"));
            }
        }
    }
    Ok(checked)
}

fn write_one(open: &mut Option<File>, path: &Path, run: u64, number: u64) -> io::Result<()> {
    let file = match open {
        Some(file) => file,
        None => {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
            open.insert(file)
        }
    };
    file.write_all_at(&record(run, number), number * SIZE as u64)?;
    file.sync_all()
}

fn read_one(file: &File, number: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.resize(SIZE, 0);
    let mut read = 0;
    while read < SIZE {
        match file.read_at(&mut bytes[read..], number * SIZE as u64 + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(read);
    Ok(())
}

fn say(log: &mut File, said: &Said) -> Result<()> {
    let line = serde_json::to_string(said)? + "\n";
    log.write_all(line.as_bytes()).and_then(|()| log.sync_data()).context("cannot keep account")
}

fn read(account: &Path) -> Result<Vec<Said>> {
    let file = File::open(account).with_context(|| format!("cannot read {}", account.display()))?;
    let lines = BufReader::new(file).lines();
    // A line that was not whole when its writer died is nothing that was said.
    Ok(lines.map_while(io::Result::ok).filter_map(|line| serde_json::from_str(&line).ok()).collect())
}

fn begun(said: &[Said]) -> Option<u64> {
    said.iter().find_map(|said| match said {
        Said::Began { run } => Some(*run),
        _ => None,
    })
}

fn acknowledged(said: &[Said]) -> impl Iterator<Item = u64> {
    said.iter().filter_map(|said| match said {
        Said::Acknowledged { number } => Some(*number),
        _ => None,
    })
}

#[allow(clippy::disallowed_methods, reason = "an application that takes its time")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_finds_what_was_acknowledged_and_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let (file, account) = (folder.path().join("records"), folder.path().join("account"));
        let mut log = File::create(&account).unwrap();
        say(&mut log, &Said::Began { run: 9 }).unwrap();
        let mut open = None;
        for number in 0..4 {
            write_one(&mut open, &file, 9, number).unwrap();
            say(&mut log, &Said::Acknowledged { number }).unwrap();
        }
        log.write_all(b"{\"acknowl").unwrap();
        assert_eq!(check(&file, &account).unwrap(), Checked { acknowledged: 4, lost: 0, flaws: vec![] });
        let damaged = File::options().write(true).open(&file).unwrap();
        damaged.write_all_at(&[0; SIZE], SIZE as u64).unwrap();
        damaged.set_len(3 * SIZE as u64).unwrap();
        let checked = check(&file, &account).unwrap();
        assert_eq!((checked.acknowledged, checked.lost), (4, 2 * SIZE as u64));
        assert!(checked.flaws[0].contains("record 1 holds zeros"), "{checked:?}");
        assert!(checked.flaws[1].contains("record 3 is beyond"), "{checked:?}");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(check(&file, &account).unwrap().lost, 4 * SIZE as u64);
    }
}
