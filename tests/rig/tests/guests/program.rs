//! The program `rig`, as a person uses it.

use std::process::{Command, Output};

use rig::Backend;

use crate::can_run;

struct Person {
    folder: tempfile::TempDir,
}

impl Person {
    fn types(&self, words: &[&str]) -> Output {
        let mut rig = Command::new(env!("CARGO_BIN_EXE_rig"));
        rig.args(words).env("TMPDIR", self.folder.path()).env_remove("RIG_NAME").output().unwrap()
    }

    fn sees(&self, words: &[&str]) -> String {
        let output = self.types(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn is_told(&self, words: &[&str]) -> String {
        let output = self.types(words);
        assert!(!output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        // Most have taken it down.
        let _ = self.types(&["down"]);
    }
}

#[test]
fn a_person_brings_guests_up_uses_them_and_takes_them_down() {
    if !can_run(Backend::Uml) {
        return;
    }
    let person = Person { folder: tempfile::tempdir().unwrap() };
    assert!(person.is_told(&["status"]).contains("use `rig up` first"));
    person.sees(&["up", "storage:128M:64M", "node1:128M"]);
    assert!(person.is_told(&["up", "again"]).contains("rig down"));
    let status = person.sees(&["status"]);
    assert!(status.starts_with("storage up uml 10.77.0.11 10.77.1.11 128M 64M /"), "{status}");
    assert_eq!(person.sees(&["exec", "node1", "--", "echo", "it's", "$HOME"]), "it's $HOME\n");
    assert_eq!(person.sees(&["exec", "node1", "--", "echo $HOME"]), "/root\n");
    assert_eq!(person.types(&["exec", "node1", "--", "exit 5"]).status.code(), Some(5));
    assert_eq!(person.types(&["exec", "node1", "-t", "1", "--", "sleep", "100"]).status.code(), Some(124));
    assert_eq!(person.sees(&["all", "--", "hostname"]), "storage: storage\nnode1: node1\n");
    person.sees(&["host", "--", "ping", "-q", "-c", "1", "10.77.1.12"]);
    person.sees(&["cut", "node1", "1"]);
    person.is_told(&["exec", "storage", "--", "ping -q -c 1 -W 1 node1-1 || { echo cut >&2; exit 1; }"]);
    person.sees(&["join", "node1", "1"]);
    person.sees(&["stop", "node1"]);
    assert!(person.sees(&["status"]).contains("node1 stopped"));
    person.sees(&["cont", "node1"]);
    person.sees(&["kill", "node1"]);
    assert!(person.is_told(&["exec", "node1", "--", "true"]).contains("start it first"));
    person.sees(&["start", "node1"]);
    person.sees(&["exec", "node1", "--", "true"]);
    person.sees(&["down"]);
    assert_eq!(person.folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_person_who_errs_is_told_the_way_out() {
    let person = Person { folder: tempfile::tempdir().unwrap() };
    for (words, says) in [
        (&["up", "n:1"][..], "such as `512M`"),
        (&["up", "A"], "guest name `A`"),
        (&["up", "-b", "kvm", "n"], "`tcg`"),
        (&["--name", "../x", "status"], "letters, digits"),
        (&["exec", "n"], "COMMAND"),
        (&["down"], "use `rig up` first"),
    ] {
        let told = person.is_told(words);
        assert!(told.contains(says), "{words:?}: {told}");
    }
}
