//! A Docker user's day: volumes made, mounted, shared, inspected, cloned, refused.

use anyhow::{Result, ensure};
use docker_suite::{Engine, Stage, needs_the_machine};

#[test]
fn what_one_container_writes_another_reads() -> Result<()> {
    needs_the_machine!();
    let stage = Stage::new()?;
    stage.create("kept", &["size=64MiB"])?.ok()?;
    stage.shell("kept", "echo kept >/data/file")?.ok()?;
    let read = stage.shell("kept", "cat /data/file")?.ok()?;
    ensure!(read == "kept", "{read}");
    ensure!(stage.mount_count("kept")? == 0, "still mounted: {}", stage.status("kept")?);
    stage.engine.docker(&["volume", "rm", "kept"])?.ok()?;
    ensure!(stage.leister.list("volumes")?.is_empty(), "it is still listed");
    stage.finish(&[])
}

#[test]
fn a_mount_with_its_driver_named_makes_the_volume() -> Result<()> {
    needs_the_machine!();
    let stage = Stage::new()?;
    let mount = format!(
        "type=volume,volume-driver={},src=wished,dst=/data,volume-opt=size=64MiB",
        stage.leister.name()
    );
    let run = |command| {
        stage.engine.docker(&[
            "run",
            "--rm",
            "--network=none",
            "--mount",
            &mount,
            "busybox",
            "sh",
            "-c",
            command,
        ])
    };
    run("echo made >/data/file")?.ok()?;
    let read = run("cat /data/file")?.ok()?;
    ensure!(read == "made", "{read}");
    ensure!(stage.view("wished")?["size"] == 64 << 20, "{}", stage.view("wished")?);
    stage.engine.docker(&["volume", "rm", "wished"])?.ok()?;
    stage.finish(&[])
}

#[test]
fn a_compose_file_makes_its_volume_and_its_services_share_it() -> Result<()> {
    needs_the_machine!();
    let stage = Stage::new()?;
    let file = stage.folder().join("compose.yaml");
    let service = |command: &str| {
        format!(
            "    image: busybox\n    network_mode: none\n    volumes: [\"data:/data\"]\n    command: {command}\n"
        )
    };
    let text = format!(
        "version: \"3.8\"\nservices:\n  writer:\n{}  reader:\n{}volumes:\n  data:\n    driver: {}\n    driver_opts:\n      \
         size: 64MiB\n",
        service("sh -c 'echo composed >/data/file'"),
        service("sh -c 'until [ -s /data/file ]; do sleep 0.1; done; cat /data/file'"),
        stage.leister.name(),
    );
    std::fs::write(&file, text)?;
    let compose = |words: &[&str]| {
        let project = ["--project-name", "composed", "--no-ansi"];
        stage.engine.compose(&file, &[&project, words].concat())
    };
    compose(&["up", "--detach"])?.ok()?;
    let code = stage.engine.docker(&["wait", "composed_reader_1"])?.ok()?;
    let read = compose(&["logs", "--no-color", "reader"])?.ok()?;
    ensure!(code == "0" && read.contains("composed"), "{code}: {read}");
    compose(&["down", "--volumes"])?.ok()?;
    ensure!(stage.leister.list("volumes")?.is_empty(), "`down --volumes` left it");
    stage.finish(&[])
}

#[test]
fn writing_past_the_size_fails_in_the_container_and_harms_no_other_volume() -> Result<()> {
    needs_the_machine!();
    let stage = Stage::new()?;
    stage.create("small", &["size=32MiB"])?.ok()?;
    stage.create("beside", &["size=64MiB"])?.ok()?;
    let refused =
        stage.shell("small", "dd if=/dev/zero of=/data/big bs=1M count=48 conv=fsync")?.refused()?;
    ensure!(
        refused.contains("Disk quota exceeded") || refused.contains("No space left on device"),
        "another error was expected: {refused}"
    );
    stage.shell("small", "rm /data/big && echo fits >/data/file")?.ok()?;
    stage.shell("beside", "dd if=/dev/zero of=/data/big bs=1M count=48 conv=fsync")?.ok()?;
    for volume in ["small", "beside"] {
        stage.engine.docker(&["volume", "rm", volume])?.ok()?;
    }
    stage.finish(&[])
}

#[test]
fn two_containers_share_a_volume_and_the_last_one_frees_it() -> Result<()> {
    needs_the_machine!();
    let stage = Stage::new()?;
    stage.create("shared", &["size=64MiB"])?.ok()?;
    stage.background("first", "shared", "echo first >/data/file; sleep 1000")?;
    stage.background("second", "shared", "sleep 1000")?;
    ensure!(stage.mount_count("shared")? == 2, "{}", stage.status("shared")?);
    let in_use = stage.engine.docker(&["volume", "rm", "shared"])?.refused()?;
    ensure!(in_use.contains("in use"), "{in_use}");
    let by_cli = stage.leister.cli(&["delete", "volume", "shared", "--yes"])?.refused()?;
    ensure!(by_cli.contains("shared"), "{by_cli}");
    stage.engine.docker(&["rm", "--force", "first"])?.ok()?;
    let read = stage.engine.docker(&["exec", "second", "cat", "/data/file"])?.ok()?;
    ensure!(read == "first" && stage.mount_count("shared")? == 1, "{read} {}", stage.status("shared")?);
    stage.engine.docker(&["rm", "--force", "second"])?.ok()?;
    ensure!(stage.mount_count("shared")? == 0, "{}", stage.status("shared")?);
    stage.engine.docker(&["volume", "rm", "shared"])?.ok()?;
    stage.finish(&[])
}

#[test]
fn inspect_shows_what_the_volume_is_and_its_snapshots() -> Result<()> {
    needs_the_machine!();
    let stage = Stage::new()?;
    stage.leister.create_from("class", "name: gold\nparameters:\n  provisioningType: thick\n")?;
    stage.create("seen", &["size=64MiB", "class=gold"])?.ok()?;
    stage.leister.cli(&["snapshot", "seen", "monday"])?.ok()?;
    let status = stage.status("seen")?;
    for field in ["size", "used", "backend", "pool", "class"] {
        ensure!(status[field].as_str().is_some_and(|text| !text.is_empty()), "no `{field}`: {status}");
    }
    ensure!(status["class"] == "gold" && status["Snapshots"][0]["Name"] == "monday", "{status}");
    ensure!(status["Snapshots"][0]["Created"].as_str().is_some_and(|time| time.contains('T')), "{status}");
    let scope = stage.engine.docker(&["volume", "inspect", "--format", "{{.Scope}}", "seen"])?.ok()?;
    ensure!(scope == "global", "{scope}");
    stage.leister.cli(&["delete", "volume", "seen", "--snapshots", "--yes"])?.ok()?;
    stage.finish(&[])
}

#[test]
fn an_unknown_option_is_refused_and_the_nearest_named() -> Result<()> {
    needs_the_machine!();
    let stage = Stage::new()?;
    let refused = stage.create("odd", &["sise=1"])?.refused()?;
    ensure!(refused.contains("sise") && refused.contains("`size`"), "{refused}");
    let refused = stage.create("odd", &["size=1 parsec"])?.refused()?;
    ensure!(refused.contains("parsec"), "{refused}");
    ensure!(stage.leister.list("volumes")?.is_empty(), "a refused volume is there");
    stage.finish(&[])
}

#[test]
fn a_clone_of_a_snapshot_has_its_content_and_leaves_the_source_alone() -> Result<()> {
    needs_the_machine!();
    let stage = Stage::new()?;
    stage.create("source", &["size=64MiB"])?.ok()?;
    stage.shell("source", "echo then >/data/file")?.ok()?;
    stage.leister.cli(&["snapshot", "source", "then"])?.ok()?;
    stage.shell("source", "echo now >/data/file")?.ok()?;
    stage.create("of-then", &["from=source", "fromSnapshot=then"])?.ok()?;
    stage.create("of-now", &["from=source"])?.ok()?;
    for (volume, expected) in [("of-then", "then"), ("of-now", "now")] {
        let read = stage.shell(volume, "cat /data/file; echo other >/data/file")?.ok()?;
        ensure!(read == expected, "{volume}: {read}");
    }
    let read = stage.shell("source", "cat /data/file")?.ok()?;
    ensure!(read == "now", "{read}");
    for volume in ["of-then", "of-now"] {
        stage.engine.docker(&["volume", "rm", volume])?.ok()?;
    }
    stage.leister.cli(&["delete", "volume", "source", "--snapshots", "--yes"])?.ok()?;
    stage.finish(&[])
}

#[test]
fn a_volume_grows_while_a_container_writes_and_is_restored_in_place_afterwards() -> Result<()> {
    needs_the_machine!();
    let stage = Stage::new()?;
    stage.create("growing", &["size=32MiB"])?.ok()?;
    stage.shell("growing", "echo before >/data/file")?.ok()?;
    stage.leister.cli(&["snapshot", "growing", "before"])?.ok()?;
    stage.background("grower", "growing", "echo after >/data/file; sleep 1000")?;
    stage.leister.cli(&["grow", "growing", "96MiB"])?.ok()?;
    let fill = "dd if=/dev/zero of=/data/big bs=1M count=64 conv=fsync";
    stage.engine.docker(&["exec", "grower", "sh", "-c", fill])?.ok()?;
    let mounted = stage.leister.cli(&["restore", "growing", "before", "--yes"])?.refused()?;
    ensure!(mounted.contains("growing"), "{mounted}");
    stage.engine.docker(&["rm", "--force", "grower"])?.ok()?;
    stage.leister.cli(&["restore", "growing", "before", "--yes"])?.ok()?;
    let read = stage.shell("growing", "cat /data/file; ls /data")?.ok()?;
    ensure!(read == "before\nfile", "{read}");
    ensure!(stage.view("growing")?["size"] == 96 << 20, "{}", stage.view("growing")?);
    stage.leister.cli(&["delete", "volume", "growing", "--snapshots", "--yes"])?.ok()?;
    stage.finish(&[])
}

#[test]
fn two_instances_side_by_side_know_nothing_of_each_other() -> Result<()> {
    needs_the_machine!();
    let engine = Engine::shared()?;
    let one = Stage::on(engine.clone(), |_| {})?;
    let other = Stage::on(engine, |_| {})?;
    one.create("of-one", &["size=64MiB"])?.ok()?;
    other.create("of-other", &["size=64MiB"])?.ok()?;
    one.shell("of-one", "echo one >/data/file")?.ok()?;
    other.shell("of-other", "test ! -e /data/file && echo other >/data/file")?.ok()?;
    for (stage, volume) in [(&one, "of-one"), (&other, "of-other")] {
        let listed: Vec<_> =
            stage.leister.list("volumes")?.into_iter().map(|view| view["name"].clone()).collect();
        ensure!(listed == [volume], "{listed:?}");
        stage.engine.docker(&["volume", "rm", volume])?.ok()?;
    }
    one.finish(&[])?;
    other.finish(&[])
}
