//! The vendor's own client is the judge: `netapp-ontap`, strict, drives the simulator.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sim_ontap::{Certificate, Sim};

const CLIENT: &str = "netapp-ontap==9.19.1.0";

#[tokio::test(flavor = "multi_thread")]
async fn the_vendors_client_finds_nothing_unexpected() {
    let Some(python) = environment() else { return };
    for http in [false, true] {
        let builder = Sim::builder().user("admin", "correct horse");
        let sim = if http { builder.http() } else { builder }.start().await.unwrap();
        let script = Path::new("tests/netapp_client.py");
        let mut command = tokio::process::Command::new(&python);
        command.arg(script).arg(sim.url()).arg("correct horse").kill_on_drop(true);
        let output = command.output().await.unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "over {}:\n{out}\n{err}", sim.url());
        assert!(out.contains("steps passed"), "{out}");
        let odd: Vec<_> =
            sim.calls().log().into_iter().filter(|call| call.status.is_none_or(|own| own >= 500)).collect();
        assert!(odd.is_empty(), "{odd:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_stands_for_a_password() {
    let Some(python) = environment() else { return };
    let folder = tempfile::tempdir().unwrap();
    let known = Certificate::self_signed(&["leister"]).unwrap();
    let unknown = Certificate::self_signed(&["leister"]).unwrap();
    let sim = Sim::builder().client_certificate("leister", &known.certificate).start().await.unwrap();
    for (certificate, lets_in) in [(known, true), (unknown, false)] {
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        fs::write(&cert, &certificate.certificate).unwrap();
        fs::write(&key, &certificate.key).unwrap();
        let script = Path::new("tests/client_certificate.py");
        let mut command = tokio::process::Command::new(&python);
        command.arg(script).arg(sim.address()).args([&cert, &key]).kill_on_drop(true);
        let output = command.output().await.unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.success(), lets_in, "{said}");
        assert!(lets_in || said.contains("401"), "{said}");
    }
}

/// The interpreter of an environment with the client in it, made once a user.
fn environment() -> Option<PathBuf> {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache =
        home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?.join("leister");
    fs::create_dir_all(&cache).unwrap();
    let folder = cache.join("venv-netapp-ontap-9.19.1");
    let python = folder.join("bin/python");
    let lock = File::create(cache.join("venv-netapp-ontap-9.19.1.lock")).unwrap();
    // Two runs at once make it once.
    lock.lock().unwrap();
    if is_ready(&python) {
        return Some(python);
    }
    let made = run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder)).and_then(|()| {
        run(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            CLIENT,
        ]))
    });
    match made {
        Ok(()) => Some(python),
        Err(why) => {
            println!("skipped: no environment with {CLIENT}: {why}");
            None
        }
    }
}

fn is_ready(python: &Path) -> bool {
    let check = ["-c", "import netapp_ontap.resources"];
    Command::new(python).args(check).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| e.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}
