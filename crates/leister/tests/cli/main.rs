//! The program as its user calls it, against a real server with a pool of its own.
#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]
#![allow(clippy::print_stdout, reason = "a skip prints its reason")]

mod collect;
mod pools;
mod rig;
mod sim;
mod slow;
mod undo;

use pools::may_make_pools;
use rig::Rig;
use serde_json::Value;

#[test]
fn a_users_day() {
    if !may_make_pools() {
        return;
    }
    let mut rig = Rig::start();
    let classes = "../../deploy/examples/classes.yaml";
    let said = rig.ok(&["create", "-f", classes]);
    assert_eq!(said, "class/gold created\nclass/silver created\nclass/bronze created\n");
    assert_eq!(rig.ok(&["get", "sc", "-o", "name"]), "class/bronze\nclass/gold\nclass/silver\n");

    for class in ["gold", "silver", "bronze"] {
        let said = rig.ok(&["create", "volume", class, "--size", "64MiB", "--class", class]);
        assert_eq!(said, format!("volume/{class} created\n"));
    }
    let gold: Value = serde_json::from_str(&rig.ok(&["get", "vol", "gold", "-o", "json"])).unwrap();
    assert_eq!((gold["size"].as_u64(), gold["provisioning"].as_str()), (Some(64 << 20), Some("thick")));
    let table = rig.ok(&["get", "volumes"]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "STATUS", "SIZE", "CLASS", "BACKEND", "POOL", "AGE"]);
    assert_eq!(lines[1][..6], ["bronze", "ready", "64MiB", "bronze", "local", "pool"]);
    assert!(rig.ok(&["get", "v", "-o", "wide"]).contains("HANDLE"));
    assert!(rig.ok(&["get", "v", "--class", "gold", "-o", "yaml"]).contains("name: gold"));
    assert!(rig.ok(&["get", "pools", "-o", "wide"]).contains("provisioningType=thick|thin"));
    assert!(rig.ok(&["get", "backends"]).contains("online"));
    assert!(rig.ok(&["get", "nodes", "-o", "name"]).starts_with("node/"));

    assert_eq!(rig.ok(&["snapshot", "gold", "s1"]), "snapshot/gold/s1 created\n");
    assert!(rig.ok(&["create", "snapshot", "silver"]).starts_with("snapshot/silver/20"));
    assert_eq!(rig.ok(&["get", "snap", "gold", "-o", "name"]), "snapshot/gold/s1\n");
    assert_eq!(rig.ok(&["clone", "gold/s1", "copy"]), "volume/copy created\n");
    assert_eq!(rig.ok(&["grow", "copy", "128MiB"]), "volume/copy has 128MiB\n");
    assert_eq!(rig.ok(&["restore", "gold", "s1"]), "volume/gold restored from s1\n");
    assert!(rig.ok(&["get", "operations"]).contains("restore"));
    assert_eq!(rig.ok(&["doctor"]), "nothing is wrong\n");
    assert!(rig.ok(&["version"]).contains("instance leister-"));

    // A restart keeps all, under the same id.
    let version = rig.ok(&["version"]);
    assert_eq!(rig.stop(), Some(0), "{}", rig.log());
    rig.serve(&[]);
    assert_eq!(rig.ok(&["version"]), version);
    assert_eq!(rig.ok(&["get", "volumes", "-o", "name"]).lines().count(), 4);

    assert!(rig.ok(&["forget", "volume", "copy", "--dry-run"]).contains("copy"));
    assert_eq!(rig.ok(&["forget", "volume", "copy"]), "volume/copy forgotten\n");
    let sick = rig.cli(&["doctor"]);
    assert_eq!((sick.code, sick.out.contains("leister adopt local copy")), (1, true), "{sick:?}");
    assert!(rig.ok(&["adopt"]).contains("copy"));
    assert_eq!(rig.ok(&["adopt", "--all"]), "volume/copy adopted\n");

    let said = rig.cli(&["delete", "volume", "copy", "nix", "gold", "bronze", "silver", "--snapshots"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert_eq!(said.out.lines().count(), 4, "{said:?}");
    assert!(said.err.contains("there is no volume `nix`"), "{said:?}");
    assert_eq!(rig.ok(&["delete", "volume", "nix", "--ignore-not-found"]), "");
    assert_eq!(rig.cli(&["get", "volumes"]).err, "no volumes found\n");
    assert_eq!(rig.ok(&["delete", "class", "gold", "silver", "bronze"]).lines().count(), 3);
    assert_eq!(rig.stop(), Some(0), "{}", rig.log());
    assert!(!rig.log().contains(" ERROR "), "{}", rig.log());
}

#[test]
fn every_failure_has_its_code_and_its_way_out() {
    if !may_make_pools() {
        return;
    }
    let rig = Rig::start();
    rig.ok(&["create", "volume", "there", "--size", "16MiB"]);
    rig.ok(&["snapshot", "there", "before-upgrade"]);
    let bad = rig.write("bad.yaml", "name: gold\nparameters: {mediaa: ssd}\n");
    let twice = rig.write("good.yaml", "name: fine\n---\nname: [x]\n");
    let table: &[(&[&str], i32, &[&str])] = &[
        (&["get", "volumes", "ther"], 3, &["there is no volume `ther`", "hint: did you mean `there`?"]),
        (&["get", "pools", "pol"], 3, &["there is no pool `pol`"]),
        (&["get", "nix"], 2, &["invalid value 'nix'"]),
        (&["create", "volume", "x", "--size", "20"], 2, &["write a unit, as in 20GiB"]),
        (&["create", "volume", "x", "--size", "1Gx"], 2, &["unknown unit `Gx`"]),
        (&["create", "volume", "a/b", "--size", "1GiB"], 2, &["the character `/`"]),
        (&["create", "volume", "x", "--size", "1GiB", "--class", "nix"], 3, &["nix"]),
        (
            &["create", "volume", "x", "--size", "1GiB", "--option", "snapDir=1"],
            2,
            &["did you mean `snapshotDir`?"],
        ),
        (&["create", "volume", "x", "--size", "900TiB"], 1, &["free"]),
        (&["create", "volume", "there", "--size", "32MiB"], 4, &["there"]),
        (&["grow", "there", "8MiB"], 2, &["there"]),
        (&["delete", "volume", "there"], 4, &["snapshot"]),
        (&["delete", "snapshot", "s1"], 2, &["VOLUME/SNAPSHOT"]),
        (&["delete", "snapshot", "there/before-upgrde"], 3, &["did you mean `before-upgrade`?"]),
        (&["delete", "backend", "local"], 4, &["has 1 volumes"]),
        (&["restore", "there", "nix"], 3, &["nix"]),
        (&["clone", "there/a", "x", "--snapshot", "a"], 2, &["named twice"]),
        (&["import", "local", "nix", "--as", "x", "--dry-run"], 3, &["nix"]),
        (&["adopt", "local", "nix"], 3, &["`leister adopt` shows all"]),
        (&["create", "class", "-f", &bad], 2, &["did you mean `media`?"]),
        (&["create", "-f", &twice], 2, &["good.yaml", "document 2"]),
        (&["create", "-f", "/nowhere"], 2, &["cannot read /nowhere"]),
        (&["create", "class", "x", "--parameter", "media"], 2, &["KEY=VALUE"]),
        (&["get", "volumes", "--timeout", "soon"], 2, &["as in 500ms"]),
        (&["get", "volumes", "--server", "/run/x"], 2, &["unix:///run/leister/leister.sock"]),
        (
            &["get", "volumes", "--server", "unix:///nowhere.sock"],
            5,
            &["cannot reach", "No such file", "hint: start one with `leister run`"],
        ),
        (&["frobnicate"], 2, &["unrecognized subcommand"]),
    ];
    for (words, code, parts) in table {
        let said = rig.cli(words);
        assert_eq!(said.code, *code, "{words:?}: {said:?}");
        for part in *parts {
            assert!(said.err.contains(part), "{words:?}: {said:?}");
        }
        assert!(said.out.is_empty(), "{words:?}: {said:?}");
    }
    let said = rig.cli_with(&["create", "class", "-f", "-"], "name: fromStdin\n");
    assert_eq!((said.code, said.out.as_str()), (0, "class/fromStdin created\n"), "{said:?}");
    let said = rig.cli(&["create", "volume", "later", "--size", "16MiB", "--no-wait"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.starts_with("volume/later create"), "{said:?}");
}

#[test]
fn a_server_whose_log_nobody_reads_any_more_serves_and_stops() {
    if !may_make_pools() {
        return;
    }
    let mut rig = Rig::bare();
    rig.serve_unheard();
    rig.ok(&["create", "volume", "v", "--size", "16MiB"]);
    rig.ok(&["delete", "volume", "v", "--yes"]);
    assert_eq!(rig.stop(), Some(0));
}

#[test]
fn long_work_is_followed_to_its_end_or_to_the_users_limit() {
    let create = ["create", "volume", "db", "--size", "1GiB", "--timeout", "500ms"];
    for (operation, code, out, err) in [
        (slow::DONE, 0, "volume/db created\n", ""),
        (slow::FAILED, 4, "", "error: it is being deleted\nhint: wait\n"),
        (slow::RUNNING, 6, "", "error: volume/db: still going on as op-7\n"),
        (slow::FOREIGN, 1, "", "is not understood"),
    ] {
        let rig = Rig::bare();
        slow::serve(&rig.path("rest.sock"), operation);
        let said = rig.cli(&create);
        assert_eq!((said.code, said.out.as_str()), (code, out), "{said:?}");
        assert!(said.err.contains(err), "{said:?}");
    }
    let rig = Rig::bare();
    slow::serve(&rig.path("rest.sock"), slow::RUNNING);
    let said = rig.cli(&[&create[..], &["--no-wait"]].concat());
    assert_eq!((said.code, said.out.as_str()), (0, "volume/db create started as op-7\n"), "{said:?}");
}

#[test]
fn what_cannot_start_says_why() {
    let rig = Rig::bare();
    let file = rig.write("c.yaml", "version: 1\nstorageDriverName: linx\n");
    for (words, code, parts) in [
        (vec!["--config", file.as_str()], 2, vec!["c.yaml", "did you mean `linux`?"]),
        (vec!["--config", "/nowhere"], 2, vec!["cannot read /nowhere"]),
        (vec!["--pool-size", "5Gx"], 2, vec!["unknown unit `Gx`"]),
        (vec!["--name", "a/b"], 2, vec!["the character `/`"]),
        (vec!["--log-level", "=x="], 2, vec!["--log-level"]),
        (vec!["--listen", "here"], 2, vec!["127.0.0.1:8000, or none"]),
        (vec!["--listen", "0.0.0.0:0"], 2, vec!["there is no password", "--open-to-all"]),
        (vec!["--node", "no de"], 2, vec!["the character ` `"]),
    ] {
        let said = rig.refused(&words);
        assert_eq!(said.code, code, "{words:?}: {said:?}");
        for part in parts {
            assert!(said.err.contains(part), "{words:?}: {said:?}");
        }
        assert!(!said.err.contains("panicked"), "{words:?}: {said:?}");
    }
}

#[test]
fn a_second_instance_on_the_same_state_or_name_is_refused() {
    if !may_make_pools() {
        return;
    }
    let rig = Rig::start();
    let said = rig.refused(&[]);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.err.contains("the store is in use by") && said.err.contains("hint:"), "{said:?}");
    let elsewhere = rig.path("other").display().to_string();
    let said = rig.refused(&["--state-dir", &elsewhere]);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.err.contains("another process answers on"), "{said:?}");
    assert_eq!(rig.ok(&["doctor"]), "nothing is wrong\n");
}

#[test]
fn help_completion_and_man_pages_need_no_server() {
    let rig = Rig::bare();
    let said = rig.cli(&[]);
    assert_eq!(said.code, 0);
    for part in ["Usage:", "doctor", "Exit codes:"] {
        assert!(said.out.contains(part), "{said:?}");
    }
    assert!(rig.ok(&["completion", "bash"]).contains("complete -F"));
    assert!(rig.ok(&["version", "--client"]).starts_with("client "));
    let pages = rig.path("man");
    rig.ok(&["man", &pages.display().to_string()]);
    for page in ["leister.1", "leister-run.1", "leister-create-volume.1"] {
        assert!(pages.join(page).exists(), "{page}");
    }
}

/// `UPDATE=1 cargo test -p leister` writes it anew.
#[test]
fn the_checked_in_reference_is_what_the_program_says() {
    let path = "../../docs/cli.md";
    let reference = Rig::bare().ok(&["reference"]);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &reference).unwrap();
    }
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(checked_in == reference, "docs/cli.md is out of date; run `UPDATE=1 cargo test -p leister`");
}
