//! Processes that die without warning, and two that want the same store.
//!
//! Each test starts its own binary again, with the path of a store in the environment, to be that process.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests, where the lints do not look")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use store::{Key, Kind, Revision, SqliteStore, Store, Write};

const KIND: Kind = "volume";
const PATH: &str = "STORE_OF_THE_CHILD";
const ROUND: &str = "ROUND_OF_THE_CHILD";

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_commit_survives_a_kill() {
    if let Some(path) = std::env::var_os(PATH) {
        return commit_until_killed(&PathBuf::from(path)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut acknowledged = BTreeMap::new();
    for round in 0..25_usize {
        let child = Reaped(child("every_acknowledged_commit_survives_a_kill", &path, round));
        // Some die young, while the log is short; some after it was folded into the file.
        acknowledged.extend(kill_after(child, 1 + round * round * 8));
        let store = SqliteStore::open(&path).unwrap();
        let found = store.list(KIND).await.unwrap();
        let found =
            found.iter().map(|entry| (entry.key.id.to_string(), entry.revision)).collect::<BTreeMap<_, _>>();
        for (id, revision) in &acknowledged {
            assert_eq!(found.get(id), Some(revision), "round {round}: {id} was acknowledged");
        }
        for (id, revision) in &found {
            let twin =
                if let Some(id) = id.strip_suffix("-l") { format!("{id}-r") } else { id.replace("-r", "-l") };
            assert_eq!(found.get(&twin), Some(revision), "round {round}: half of {id} is there");
        }
    }
    assert!(acknowledged.len() > 25 * 25);
}

#[tokio::test]
async fn a_second_process_is_refused() {
    const NAME: &str = "a_second_process_is_refused";
    if let Some(path) = std::env::var_os(PATH) {
        let error = SqliteStore::open(&PathBuf::from(path)).unwrap_err();
        println!("\nrefused: {error}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path).unwrap();
    store.acquire("host-a").await.unwrap();
    let output = child(NAME, &path, 0).wait_with_output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let expected = format!("refused: the store is in use by `host-a` (process {})", std::process::id());
    assert!(output.contains(&expected), "{output}");
}

/// Kills its process, also when a test fails.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn child(test: &str, path: &Path, round: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(PATH, path)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Lets it acknowledge so many commits, kills it, and returns all it acknowledged until it was dead.
fn kill_after(mut child: Reaped, commits: usize) -> BTreeMap<String, Revision> {
    let output = BufReader::new(child.0.stdout.take().unwrap());
    let mut acknowledged = BTreeMap::new();
    let mut seen = 0;
    for line in output.lines() {
        let line = line.unwrap();
        // The last line may be cut off, which the end mark shows; the test harness has lines of its own.
        let Some(line) = line.strip_prefix("acknowledged ").and_then(|line| line.strip_suffix(" end")) else {
            continue;
        };
        let (id, revision) = line.split_once(' ').unwrap();
        let revision = Revision(revision.parse().unwrap());
        acknowledged.extend(["l", "r"].map(|side| (format!("{id}-{side}"), revision)));
        seen += 1;
        if seen == commits {
            child.0.kill().unwrap();
        }
    }
    assert!(seen >= commits, "the child ended by itself after {seen}");
    acknowledged
}

async fn commit_until_killed(path: &Path) {
    let round = std::env::var(ROUND).unwrap();
    let store = Arc::new(SqliteStore::open(path).unwrap());
    let fence = store.acquire("child").await.unwrap().fence;
    let committers = (0..8).map(|committer| {
        let (store, round) = (Arc::clone(&store), round.clone());
        tokio::spawn(async move {
            for number in 0.. {
                let id = format!("{round}-{committer}-{number}");
                let pair = ["l", "r"].map(|side| Write {
                    key: Key::new(KIND, format!("{id}-{side}")),
                    expected: None,
                    value: Some([0; 400].as_slice().into()),
                });
                // The end of the process takes back neither kind.
                let revision = match number % 2 {
                    0 => store.commit(fence, pair.into()).await.unwrap(),
                    _ => store.commit_ordered(fence, pair.into()).await.unwrap(),
                };
                println!("\nacknowledged {id} {} end", revision.0);
            }
        })
    });
    for committer in committers.collect::<Vec<_>>() {
        committer.await.unwrap();
    }
}
