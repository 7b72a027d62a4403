use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use super::*;

/// A tool of our own in a directory of its own.
fn script(text: &str) -> (tempfile::TempDir, Tool) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tool");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let tool = Tool::new("tool").directories(vec![directory.path().to_owned()]);
    (directory, tool)
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} within 10 s");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn lives(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

#[tokio::test]
async fn a_tool_runs_in_the_c_locale_with_nothing_of_our_environment() {
    let (_directory, tool) = script("echo $LC_ALL; env | grep -c CARGO; pwd; cat");
    let output = tool.accept(&[0]).input("said").run().await.unwrap();
    assert_eq!(output.stdout, "C\n0\n/\nsaid");
}

#[tokio::test]
async fn a_failure_carries_command_code_and_the_end_of_stderr_but_no_secret() {
    let (_directory, tool) = script("echo first >&2; echo last >&2; exit 3");
    let tool = tool.args(["-a", "b"]).secret("hunter2");
    assert!(!format!("{tool:?}").contains("hunter2"));
    let error = tool.run().await.unwrap_err().to_string();
    assert_eq!(error, "`tool -a b ***` failed with exit code 3: first; last");
}

#[tokio::test]
async fn an_accepted_code_is_an_answer() {
    let (_directory, tool) = script("exit 2");
    assert_eq!(tool.accept(&[0, 2]).run().await.unwrap().code, 2);
}

#[tokio::test]
async fn a_missing_tool_names_its_debian_package() {
    for (name, package) in [("mkfs.xfs", "xfsprogs"), ("blkid", "util-linux"), ("resize2fs", "e2fsprogs")] {
        let error = Tool::new(name).directories(vec!["/nonexistent".into()]).run().await.unwrap_err();
        assert!(error.to_string().contains(&format!("install the Debian package {package}")), "{error}");
    }
}

#[tokio::test]
async fn a_tool_that_takes_too_long_is_killed_with_its_children() {
    let (directory, tool) = script("sleep 1000 & echo $! > $1; echo working >&2; wait");
    let pid_file = directory.path().join("pid");
    let error = tool.path(&pid_file).limit(Duration::from_millis(300)).run().await.unwrap_err();
    assert!(matches!(error, ExecError::TooLong { .. }), "{error}");
    assert!(error.to_string().contains("working"), "{error}");
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    until("the child is gone", || !lives(&pid)).await;
}

#[tokio::test]
async fn a_tool_dies_with_its_request_and_keeps_the_lock_until_then() {
    let (directory, tool) = script("sleep 1000 & echo $! > $1.new; mv $1.new $1; wait");
    let pid_file = directory.path().join("pid");
    let hold: Hold = std::sync::Arc::new(());
    let request = tokio::spawn(tool.path(&pid_file).holding(&hold).run());
    until("the tool has begun", || pid_file.exists()).await;
    assert_eq!(std::sync::Arc::strong_count(&hold), 2);
    request.abort();
    until("the lock is free", || std::sync::Arc::strong_count(&hold) == 1).await;
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    until("the child is gone", || !lives(&pid)).await;
}

#[tokio::test]
async fn a_talkative_tool_is_heard_to_the_end_but_kept_in_bounds() {
    let (_directory, tool) = script(
        "head -c 1000000 /dev/zero | tr '\\0' x; head -c 1000000 /dev/zero | tr '\\0' y >&2; echo end >&2; exit 1",
    );
    let output = tool.accept(&[1]).run().await.unwrap();
    assert_eq!(output.stdout.len(), STDOUT_KEPT);
    assert!(output.stderr.len() <= STDERR_KEPT && output.stderr.ends_with("end"));
}
