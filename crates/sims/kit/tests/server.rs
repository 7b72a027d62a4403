//! The server between the wire and a simulator.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use sim_kit::{Call, Effect, Latency, Overload, Reply, Server, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Answers everything with its path, and knows how many calls it works on at once.
#[derive(Default)]
struct Echo {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Simulator for Echo {
    fn template(&self, call: &Call) -> String {
        format!("{} {}", call.method, call.path)
    }

    async fn answer(&self, call: Call) -> Reply {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        Reply::json(200, "application/json", &json!({"path": call.path}))
    }
}

async fn start() -> (Arc<Echo>, Arc<Server>) {
    let echo = Arc::<Echo>::default();
    let server = Server::start(echo.clone(), SocketAddr::from(([127, 0, 0, 1], 0)), None).await.unwrap();
    (echo, Arc::new(server))
}

/// What the server sends until it closes.
async fn get(server: &Server, path: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap_or_default();
    answer
}

/// Makes many calls at once, and counts the good answers.
async fn get_many(server: &Arc<Server>, many: usize) -> usize {
    let mut calls = JoinSet::new();
    for number in 0..many {
        let server = server.clone();
        calls.spawn(async move { get(&server, &format!("/{number}")).await });
    }
    calls.join_all().await.iter().filter(|answer| answer.starts_with("HTTP/1.1 200")).count()
}

#[tokio::test]
async fn calls_beyond_the_limit_wait_for_their_turn() {
    let (echo, server) = start().await;
    server.faults().limit_in_flight(3, Overload::Wait);
    assert_eq!(get_many(&server, 20).await, 20);
    assert_eq!(echo.most.load(Ordering::SeqCst), 3);
    assert_eq!(server.calls().total(), 20);
    server.faults().clear();
    assert_eq!(get_many(&server, 20).await, 20);
    assert!(echo.most.load(Ordering::SeqCst) > 3);
}

#[tokio::test]
async fn calls_take_at_least_the_time_they_are_given() {
    let (_, server) = start().await;
    server.faults().set_latency("GET /slow*", Latency { milliseconds: 60, jitter: 10 });
    let before = Instant::now();
    get(&server, "/slow/1").await;
    assert!(before.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn a_broken_connection_carries_no_answer_and_is_in_the_log() {
    let (_, server) = start().await;
    server.faults().once("GET /a", Effect::ApplyAndDrop);
    assert_eq!(get(&server, "/a").await, "");
    assert!(get(&server, "/a").await.starts_with("HTTP/1.1 200"));
    let log = server.calls().log();
    assert_eq!(log.iter().map(|call| call.status).collect::<Vec<_>>(), [None, Some(200)]);
    assert_eq!(log[1].reply, json!({"path": "/a"}));
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let (echo, server) = start().await;
    let refused = Server::start(echo, server.address(), None).await.unwrap_err();
    assert!(refused.to_string().contains(&server.address().to_string()), "{refused}");
}
