//! `leister sim`: an array that is none, as a person starts it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Ends the program also when the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sim(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leister"));
    command.args(["sim", "ontap"]).args(arguments).env_remove("LEISTER_SIM_PASSWORD");
    command
}

#[test]
fn a_simulated_array_answers_until_it_is_told_to_end_and_keeps_its_state() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("array.json");
    let mut names = Vec::new();
    for _ in 0..2 {
        let mut command =
            sim(&["--listen", "127.0.0.1:0", "--http", "--svm", "here", "--version", "9.16.1", "--state"]);
        command.arg(&file).env("LEISTER_SIM_PASSWORD", "secret").stdout(Stdio::piped());
        let mut running = Running(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().rsplit_once("http://").unwrap().1;
        let mut stream = TcpStream::connect(address).unwrap();
        let path = "/api/svm/svms?fields=name";
        // admin:secret
        let credentials = "Basic YWRtaW46c2VjcmV0";
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: {credentials}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("\"name\":\"here\""), "{answer}");
        names.push(answer.split_once("\"uuid\":").unwrap().1.to_owned());
        kill_process(Pid::from_child(&running.0), Signal::TERM).unwrap();
        assert_eq!(running.0.wait().unwrap().code(), Some(0));
        assert!(file.exists());
    }
    assert_eq!(names[0], names[1], "the same array again");
}

#[test]
fn a_simulated_array_without_a_password_or_a_version_says_so() {
    let output = sim(&["--http"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--password-file"), "{output:?}");
    let mut odd = sim(&["--listen", "127.0.0.1:0", "--version", "ten"]);
    let output = odd.env("LEISTER_SIM_PASSWORD", "secret").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no ONTAP version"), "{output:?}");
}
