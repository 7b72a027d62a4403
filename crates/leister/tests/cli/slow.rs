//! A server whose work never ends, fails late, or is no server of ours: what real backends do rarely.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

const VOLUME: &str = r#"{"name":"db","status":"ready","size":1,"backend":"b","pool":"p","handle":"h","layout":"file",
"provisioning":"thin","access":"ReadWriteOnce","snapshots":0,"origin":"made","created":"2026-01-01T00:00:00Z"}"#;

/// Answers on the socket until the test ends; `operation` says how the work it was asked for goes.
pub(crate) fn serve(socket: &Path, operation: &'static str) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream, operation));
        }
    });
}

/// An operation as the interface shows it.
pub(crate) const RUNNING: &str = r#"{"id":"op-7","verb":"create","volume":"db","state":"running","stage":"creating",
"started":"2026-01-01T00:00:00Z","joined":1}"#;
pub(crate) const DONE: &str = r#"{"id":"op-7","verb":"create","volume":"db","state":"done",
"started":"2026-01-01T00:00:00Z","ended":"2026-01-01T00:00:01Z","joined":1}"#;
pub(crate) const FAILED: &str = r#"{"id":"op-7","verb":"create","volume":"db","state":"failed",
"error":{"kind":"busy","message":"it is being deleted","hint":"wait"},
"started":"2026-01-01T00:00:00Z","ended":"2026-01-01T00:00:01Z","joined":1}"#;
pub(crate) const FOREIGN: &str = "<html>";

fn answer(stream: UnixStream, operation: &str) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or_default() == 0 {
            return;
        }
    }
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    let (status, text) = match head.split(' ').nth(1).unwrap_or_default() {
        path if path.starts_with("/v1/operations/") => ("200 OK", operation),
        _ if head.starts_with("POST") => ("202 Accepted", RUNNING),
        _ => ("200 OK", VOLUME),
    };
    let length = text.len();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}");
    let _ = reader.into_inner().write_all(answer.as_bytes());
}
