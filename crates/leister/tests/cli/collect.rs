//! `leister collect`: one file for somebody who was not there.

use std::process::Command;

use serde_json::Value;

use crate::pools::may_make_pools;
use crate::rig::Rig;

#[test]
fn what_a_helper_needs_is_in_one_file_without_secrets() {
    if !may_make_pools() {
        return;
    }
    let mut rig = Rig::start();
    rig.ok(&["create", "volume", "v", "--size", "64MiB"]);
    rig.ok(&["snapshot", "v", "s"]);
    let log = rig.path("some.log");
    std::fs::write(&log, "to array: password=geheim, Authorization: Basic Z2VoZWlt\nall is well\n").unwrap();
    let file = rig.path("all.tar.gz");
    let (file, log) = (file.to_str().unwrap(), log.to_str().unwrap());
    assert!(rig.ok(&["collect", "--file", file, "--log", log]).starts_with(file));
    let tar = |words: &[&str]| {
        let output = Command::new("tar").args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = tar(&["tzf", file]);
    let folder = listed.lines().next().and_then(|name| name.split('/').next()).unwrap().to_owned();
    let names: Vec<&str> =
        listed.lines().filter_map(|name| name.split_once('/')).map(|(_, name)| name).collect();
    for name in ["version.json", "doctor.json", "backends.json", "pools.json", "metrics.txt", "machine.txt"] {
        assert!(names.contains(&name), "{name}: {listed}");
    }
    assert!(!names.contains(&"missing.txt"), "{listed}");
    let read = |name: &str| tar(&["xzOf", file, &format!("{folder}/{name}")]);
    let volumes: Value = serde_json::from_str(&read("volumes.json")).unwrap();
    assert_eq!((volumes[0]["name"].as_str(), volumes.as_array().map(Vec::len)), (Some("v"), Some(1)));
    assert!(read("snapshots.json").contains("\"s\""));
    assert_eq!(read("logs/some.log"), "to array: password=***, Authorization: ***\nall is well\n");

    // Nothing is written over.
    let again = rig.cli(&["collect", "--file", file]);
    assert_eq!((again.code, again.err.contains("--file")), (1, true), "{again:?}");

    // Without a server there is still the machine, and what it was is said.
    rig.kill();
    let alone = rig.path("alone.tar.gz");
    let said = rig.cli(&["collect", "--file", alone.to_str().unwrap(), "--log", "/nowhere"]);
    assert_eq!(said.code, 5, "{said:?}");
    let missing = tar(&["xzOf", alone.to_str().unwrap(), "--wildcards", "*/missing.txt"]);
    assert!(missing.contains("version.json: ") && missing.contains("logs/nowhere: /nowhere"), "{missing}");
}
