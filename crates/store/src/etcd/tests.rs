//! Against Debian's etcd, started for each test on ports of its own.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::suite::{Fixture, delete, put};
use crate::{ANSWER, LETTER, OPENED};

/// One member; killed when it is dropped.
struct Member {
    child: Child,
    endpoint: String,
    _dir: tempfile::TempDir,
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ports<const N: usize>() -> [u16; N] {
    let taken = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    taken.map(|listener| listener.local_addr().unwrap().port())
}

fn cluster<const N: usize>() -> [Member; N] {
    let (clients, peers) = (ports::<N>(), ports::<N>());
    let all = peers.iter().enumerate().map(|(n, port)| format!("m{n}=http://127.0.0.1:{port}"));
    let all = all.collect::<Vec<_>>().join(",");
    std::array::from_fn(|n| {
        // In memory: what it flushes must not wait for the disk of a loaded machine.
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let endpoint = format!("http://127.0.0.1:{}", clients[n]);
        let peer = format!("http://127.0.0.1:{}", peers[n]);
        let child = Command::new("etcd")
            .args(["--name", &format!("m{n}"), "--data-dir"])
            .arg(dir.path())
            .args(["--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &all, "--max-txn-ops", "4096", "--max-request-bytes", "8388608"])
            .args(["--heartbeat-interval", "100", "--election-timeout", "1000", "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd of the package etcd-server");
        Member { child, endpoint, _dir: dir }
    })
}

async fn reach(members: &[Member]) -> EtcdStore {
    reach_at(members.iter().map(|member| member.endpoint.clone()).collect()).await
}

async fn reach_at(endpoints: Vec<String>) -> EtcdStore {
    let config =
        EtcdConfig { endpoints, prefix: "/leister/test".to_owned(), ca: None, identity: None, user: None };
    let opened = async {
        loop {
            match EtcdStore::open(&config).await {
                Ok(store) => return store,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), opened).await.expect("etcd serves")
}

async fn open() -> Fixture {
    let members = cluster::<1>();
    let store = reach(&members).await;
    Fixture::new(Arc::new(store), members)
}

crate::run_against!(open);

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_not_renewed_passes_on_and_its_holder_is_fenced() {
    let members = cluster::<1>();
    let [one, other] = [reach(&members).await, reach(&members).await];
    let old = one.acquire("a").await.unwrap();
    assert!(matches!(other.acquire("b").await, Err(StoreError::Held { holder }) if holder == "a"));
    let taken = async {
        loop {
            match other.acquire("b").await {
                Ok(lease) => return lease,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    let new = tokio::time::timeout(Duration::from_secs(60), taken).await.unwrap();
    assert!(new.fence > old.fence);
    let late = one.commit(old.fence, vec![put(&Key::new("volume", "v"), None, b"late")]).await;
    assert!(matches!(late, Err(StoreError::Fenced { .. })), "{late:?}");
    assert!(matches!(one.renew(&old).await, Err(StoreError::Fenced { .. })));
    assert_eq!(other.list("volume").await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_the_death_of_a_member_during_writes() {
    const WRITERS: usize = 4;
    const EACH: usize = 50;
    let members = cluster::<3>();
    let store = reach(&members).await;
    let lease = store.acquire("a").await.unwrap();
    let [mut dying, second, third] = members;
    let survivors = [second, third];
    let acknowledged = Mutex::new(Vec::new());
    let writer = async |writer: usize| {
        for number in 0..EACH {
            let key = Key::new("volume", format!("{writer}-{number}"));
            // The others elect a leader meanwhile: it is asked for again, and done once.
            let written = store.commit(lease.fence, vec![put(&key, None, key.id.as_bytes())]).await;
            acknowledged.lock().unwrap().push((key, written.unwrap()));
            if number % 10 == 0 {
                // May fail while the others elect a leader: the next one counts.
                let _ = store.renew(&lease).await;
            }
        }
    };
    let death = async {
        while acknowledged.lock().unwrap().len() < WRITERS * EACH / 4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The one that answers us.
        dying.child.kill().unwrap();
    };
    let writers = futures::future::join_all((0..WRITERS).map(writer));
    let all = futures::future::join(writers, death);
    tokio::time::timeout(Duration::from_secs(120), all).await.expect("the others serve");

    let acknowledged = acknowledged.into_inner().unwrap();
    assert_eq!(acknowledged.len(), WRITERS * EACH);
    let reader = reach(&survivors).await;
    for (key, revision) in acknowledged {
        let found = reader.find(&key).await.unwrap();
        let found = found.unwrap_or_else(|| panic!("{key} was acknowledged and is lost"));
        assert_eq!((found.value.as_ref(), found.revision), (key.id.as_bytes(), revision));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_done_once_and_knows_its_work() {
    let members = cluster::<1>();
    let store = reach(&members).await;
    let lease = store.acquire("a").await.unwrap();
    let [old, kept, gone] = ["old", "kept", "gone"].map(|id| Key::new("volume", id));
    let before = vec![put(&old, None, b"1"), put(&gone, None, b"1")];
    let at = Some(store.commit(lease.fence, before).await.unwrap());

    let known = async {
        let is_deaf = Arc::new(AtomicBool::new(false));
        let way = way_to(&members[0], is_deaf.clone()).await;
        let deafened = async || {
            is_deaf.store(false, Ordering::SeqCst);
            let store = reach_at(vec![way.clone(), members[0].endpoint.clone()]).await;
            is_deaf.store(true, Ordering::SeqCst);
            store
        };
        let writes = vec![put(&old, at, b"2"), put(&kept, None, b"1"), delete(&gone, at)];
        let done = deafened().await.commit(lease.fence, writes).await.unwrap();
        for (key, value) in [(&old, b"2"), (&kept, b"1")] {
            let found = store.find(key).await.unwrap().unwrap();
            assert_eq!((found.value.as_ref(), found.revision), (value.as_slice(), done));
        }
        assert!(store.find(&gone).await.unwrap().is_none());

        // What it did not do is not its work.
        let other = deafened().await.commit(lease.fence, vec![put(&old, at, b"3")]).await;
        assert!(
            matches!(&other, Err(StoreError::Conflict { found, .. }) if *found == Some(done)),
            "{other:?}"
        );
    };
    // What is not answered takes time, and on a slow machine more than a lease has.
    let renewed = async {
        loop {
            let _ = store.renew(&lease).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! { () = known => {}, () = renewed => {} }
}

/// An endpoint that leads to the member; while it is deaf no answer comes back.
async fn way_to(member: &Member, is_deaf: Arc<AtomicBool>) -> String {
    let way = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", way.local_addr().unwrap());
    let to = member.endpoint.replace("http://", "");
    tokio::spawn(async move {
        while let Ok((ours, _)) = way.accept().await {
            let theirs = TcpStream::connect(&to).await.unwrap();
            let ((mut asked, mut told), (mut answers, mut asks)) = (ours.into_split(), theirs.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut asked, &mut asks).await });
            let is_deaf = is_deaf.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                while let Ok(read @ 1..) = answers.read(&mut buffer).await {
                    if !is_deaf.load(Ordering::SeqCst) && told.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    endpoint
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_records_are_listed_in_order() {
    let members = cluster::<1>();
    let store = reach(&members).await;
    let lease = store.acquire("a").await.unwrap();
    for part in 0..10 {
        let keys = (0..1000).map(|number| Key::new("volume", format!("{part}-{number:04}")));
        store.commit(lease.fence, keys.map(|key| put(&key, None, b"v")).collect()).await.unwrap();
    }
    let listed = store.list("volume").await.unwrap();
    assert_eq!(listed.len(), 10_000);
    assert!(listed.is_sorted_by(|a, b| a.key < b.key));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_over_the_limit_is_refused_with_a_reason() {
    let members = cluster::<1>();
    let store = reach(&members).await;
    let lease = store.acquire("a").await.unwrap();
    let large = vec![0; 9 << 20];
    let refused = store.commit(lease.fence, vec![put(&Key::new("volume", "v"), None, &large)]).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{refused:?}");
}

#[tokio::test]
async fn endpoints_that_cannot_be_used_are_named() {
    for (endpoint, says) in [("127.0.0.1:2379", "http://host:port"), ("http://", "etcd endpoint `http://`")] {
        let config = EtcdConfig {
            endpoints: vec![endpoint.to_owned()],
            prefix: "/x".to_owned(),
            ca: None,
            identity: None,
            user: None,
        };
        let error = EtcdStore::open(&config).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_is_answered_once_and_by_the_holder_of_the_lease_alone() {
    let members = cluster::<1>();
    let [leads, follows, dies] = [reach(&members).await, reach(&members).await, reach(&members).await];
    let stale = leads.acquire("a").await.unwrap().fence;
    let fence = leads.acquire("a").await.unwrap().fence;
    follows.send("b/1", b"ask".as_slice().into()).await.unwrap();
    dies.send("c/1", b"ask".as_slice().into()).await.unwrap();
    drop(dies);
    let ids = async |kind| {
        let entries = leads.list(kind).await.unwrap();
        entries.iter().map(|entry| entry.key.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ids(LETTER).await, ["b/1", "c/1"]);
    let reply = || -> Arc<[u8]> { b"done".as_slice().into() };
    assert!(matches!(follows.answer(stale, "b/1", reply()).await, Err(StoreError::Fenced { .. })));
    assert!(matches!(follows.open(stale, "b/1").await, Err(StoreError::Fenced { .. })));
    leads.open(fence, "b/1").await.unwrap();
    assert_eq!((ids(OPENED).await, ids(ANSWER).await), (vec!["b/1".to_owned()], vec![]));
    leads.answer(fence, "b/1", reply()).await.unwrap();
    leads.answer(fence, "b/1", b"again".as_slice().into()).await.unwrap();
    let answer = follows.find(&Key::new(ANSWER, "b/1")).await.unwrap().expect("it is answered");
    assert_eq!(answer.value.as_ref(), b"done");
    follows.withdraw("b/1").await.unwrap();
    assert_eq!((ids(OPENED).await, ids(ANSWER).await), (vec![], vec![]));
    let forgotten = async {
        while !ids(LETTER).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let forgotten = tokio::time::timeout(Duration::from_secs(60), forgotten).await;
    forgotten.expect("the letter of a dead process goes by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_one_owners_and_what_was_kept_first_stays() {
    let members = cluster::<1>();
    let [one, two] = [reach(&members).await, reach(&members).await];
    one.claim("node/x", "here").await.unwrap();
    one.claim("node/x", "here").await.unwrap();
    let other = two.claim("node/x", "there").await;
    assert!(matches!(&other, Err(StoreError::Held { holder }) if holder == "here"), "{other:?}");
    two.claim("node/y", "there").await.unwrap();
    // The same host again, after a crash.
    two.claim("node/x", "here").await.unwrap();
    assert_eq!(one.keep("instance", "a").await.unwrap(), "a");
    assert_eq!(two.keep("instance", "b").await.unwrap(), "a");
}
