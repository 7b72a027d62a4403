//! What cannot start says which option is wrong, and how to go on.

use std::process::Command;

use filer::{Authority, Tenant};

use crate::cluster::Cluster;
use crate::host::{PROGRAM, Said, Site, said, until};

/// A start that is to fail.
fn refused(site: &Site, node: &str, words: &[&str]) -> Said {
    let folder = site.path().join(node);
    let output = Command::new(PROGRAM)
        .args(["run", "--listen", "none", "--node", node, "--state-dir"])
        .arg(folder.join("state"))
        .arg("--socket")
        .arg(folder.join("rest.sock"))
        .arg("--plugin-dir")
        .arg(folder.join("plugins"))
        .args(words)
        .output()
        .unwrap();
    said(output)
}

fn check(said: &Said, code: i32, parts: &[&str]) {
    assert_eq!(said.code, code, "{said:?}");
    for part in parts {
        assert!(said.err.contains(part), "{part}: {said:?}");
    }
    assert!(!said.err.contains("panicked"), "{said:?}");
}

#[test]
fn options_that_do_not_fit_together_are_refused() {
    let site = Site::new();
    let etcd = ["--store", "etcd", "--etcd-endpoints"];
    let run = |words: &[&str]| refused(&site, "n", words);
    check(&run(&["--store", "etcd"]), 2, &["--etcd-endpoints"]);
    check(&run(&["--etcd-endpoints", "http://127.0.0.1:1"]), 2, &["--store etcd"]);
    let with = |words: &[&str]| run(&[&etcd[..], words].concat());
    check(&with(&["127.0.0.1:2379"]), 2, &["`127.0.0.1:2379`", "http://host:port", "--etcd-endpoints"]);
    check(&with(&["http://127.0.0.1:1", "--pool", "/tmp/pool"]), 2, &["--pool", "leister filer"]);
    check(
        &with(&["http://127.0.0.1:1", "--shared-backends", "--instance-id", "x"]),
        2,
        &["--shared-backends"],
    );
    check(
        &with(&["http://127.0.0.1:1", "--etcd-prefix", "x"]),
        2,
        &["--etcd-prefix `x`", "/leister/production"],
    );
    check(
        &with(&["http://127.0.0.1:1", "--etcd-ca", "/nowhere"]),
        2,
        &["certificates were given", "not https"],
    );
    check(
        &with(&["https://127.0.0.1:1", "--etcd-ca", "/nowhere"]),
        2,
        &["cannot read /nowhere", "--etcd-ca"],
    );
    check(&with(&["http://127.0.0.1:1", "--etcd-user", "u"]), 2, &["--etcd-password-file"]);
    let words = ["http://127.0.0.1:1", "--etcd-user", "u", "--etcd-password-file", "/nowhere"];
    check(&with(&words), 1, &["--etcd-password-file /nowhere", "write the password into it"]);
    // Nobody listens there.
    check(
        &with(&["http://127.0.0.1:1"]),
        5,
        &["http://127.0.0.1:1", "onnection refused", "--etcd-endpoints"],
    );
}

#[test]
fn a_password_is_asked_for_and_taken() {
    if !crate::may_make_pools() {
        return;
    }
    let (cluster, site) = (Cluster::of(1), Site::new());
    for words in [
        ["user", "add", "root:secret"].as_slice(),
        &["user", "grant-role", "root", "root"],
        &["user", "add", "ship:aye"],
        &["role", "add", "ship"],
        &["role", "grant-permission", "ship", "--prefix=true", "readwrite", "/leister/"],
        &["user", "grant-role", "ship", "ship"],
        &["auth", "enable"],
    ] {
        let said = cluster.ctl(words);
        assert!(said.status.success(), "{words:?}: {said:?}");
    }
    let (right, wrong) = (site.path().join("right"), site.path().join("wrong"));
    std::fs::write(&right, "aye\n").unwrap();
    std::fs::write(&wrong, "nay\n").unwrap();
    let endpoints = cluster.endpoints();
    let base = ["--store", "etcd", "--etcd-endpoints", &endpoints];
    let run = |words: &[&str]| refused(&site, "n", &[&base[..], words].concat());
    check(&run(&[]), 1, &[&endpoints, "refuses", "--etcd-user"]);
    let with = |file: &std::path::Path| {
        vec![
            "--etcd-user".to_owned(),
            "ship".to_owned(),
            "--etcd-password-file".to_owned(),
            file.display().to_string(),
        ]
    };
    let words = with(&wrong);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    check(&run(&words), 1, &["authentication failed", "--etcd-password-file"]);
    let words = with(&right);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let elsewhere = run(&[&words[..], &["--etcd-prefix", "/other"]].concat());
    check(&elsewhere, 1, &["permission denied", "below /other"]);
    let mut host = site.start_with("n", &endpoints, &words);
    assert_eq!(host.ok(&["create", "volume", "v", "--size", "8MiB"]), "volume/v created\n");
    assert!(!host.log().contains("aye\""), "{}", host.log());
    host.ok(&["delete", "volume", "v"]);
    host.stop();
}

#[test]
fn certificates_are_checked_on_both_sides() {
    if !crate::may_make_pools() {
        return;
    }
    let site = Site::new();
    let names = ["127.0.0.1".to_owned()];
    let (ours, theirs) = (site.path().join("ours"), site.path().join("theirs"));
    let (authority, server) = Authority::init(&ours, &names, 30).unwrap();
    let client = authority.issue(&Tenant::new("ship").unwrap(), 30).unwrap().files;
    let (other, _) = Authority::init(&theirs, &names, 30).unwrap();
    let stranger = other.issue(&Tenant::new("ship").unwrap(), 30).unwrap().files;
    let text = |path: &std::path::Path| path.display().to_string();
    let more = [
        "--cert-file".to_owned(),
        text(&server.files.certificate),
        "--key-file".to_owned(),
        text(&server.files.key),
        "--trusted-ca-file".to_owned(),
        text(&server.files.ca),
        "--client-cert-auth".to_owned(),
    ];
    let mut cluster = Cluster::with(1, "https", &more);
    cluster.start();
    let endpoints = cluster.endpoints();
    let options = |ca: &std::path::Path, pair: Option<&filer::TrustFiles>| {
        let mut words = vec!["--etcd-ca".to_owned(), text(ca)];
        if let Some(pair) = pair {
            words.extend([
                "--etcd-cert".into(),
                text(&pair.certificate),
                "--etcd-key".into(),
                text(&pair.key),
            ]);
        }
        words
    };
    let good = options(&client.ca, Some(&client));
    let good: Vec<&str> = good.iter().map(String::as_str).collect();
    let mut host = site.start_with("good", &endpoints, &good);
    assert!(host.version()["leader"].as_str() == Some("good"));
    host.stop();
    let run = |words: Vec<String>| {
        let base = ["--store", "etcd", "--etcd-endpoints", &endpoints];
        let words: Vec<&str> = base.into_iter().chain(words.iter().map(String::as_str)).collect();
        refused(&site, "bad", &words)
    };
    std::thread::scope(|scope| {
        let cases = [
            (options(&stranger.ca, Some(&client)), "certificate"),
            (options(&client.ca, None), ""),
            (options(&client.ca, Some(&stranger)), ""),
        ];
        for (words, says) in cases {
            scope.spawn(move || {
                let said = run(words);
                check(&said, 5, &["https://127.0.0.1", says, "--etcd-ca, --etcd-cert and --etcd-key"]);
            });
        }
        let plain = endpoints.replace("https", "http");
        let said = refused(&site, "plain", &["--store", "etcd", "--etcd-endpoints", &plain]);
        check(&said, 5, &[&plain, "not https"]);
    });
}

#[test]
fn what_another_version_or_another_host_has_is_left_alone() {
    if !crate::may_make_pools() {
        return;
    }
    let (cluster, site) = (Cluster::of(1), Site::new());
    let endpoints = cluster.endpoints();
    let base = ["--store", "etcd", "--etcd-endpoints", &endpoints];
    let run = |node: &str, words: &[&str]| refused(&site, node, &[&base[..], words].concat());
    assert!(cluster.ctl(&["put", "/leister/new/kept/format", "9"]).status.success());
    let newer = run("n", &["--etcd-prefix", "/leister/new"]);
    check(&newer, 4, &["below /leister/new have the format 9", "--etcd-prefix"]);
    assert!(cluster.ctl(&["get", "/leister/new/kept/instance"]).stdout.is_empty());

    let host = site.start("n", &endpoints);
    let twin = Command::new(PROGRAM)
        .args(["run", "--listen", "none", "--node", "n", "--state-dir"])
        .arg(site.path().join("twin/state"))
        .arg("--socket")
        .arg(site.path().join("twin/rest.sock"))
        .arg("--plugin-dir")
        .arg(site.path().join("twin/plugins"))
        .args(base)
        .output()
        .unwrap();
    check(&said(twin), 4, &["is the node `n` already", "--node"]);
    let other = run("m", &["--instance-id", "other"]);
    check(&other, 4, &["not `other`", "leave --instance-id out"]);

    // A record that a newer version has written: an instance that starts says so, one that follows shows what it knew.
    let mut second = site.start("second", &endpoints);
    let put = cluster.ctl(&["put", "/leister/leister/records/class/new", r#"{"format": 99, "name": "new"}"#]);
    assert!(put.status.success());
    until("it is said", || {
        second.version()["trouble"].as_str().is_some_and(|trouble| trouble.contains("has format 99"))
    });
    second.stop();
    let late = run("third", &[]);
    check(&late, 1, &["class `new` has format 99", "newer version"]);
    assert_eq!(host.leader().as_deref(), Some("n"));
}
