//! Records that two hosts share in a real etcd: the one that follows mounts with its own hands.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use store::{EtcdConfig, EtcdStore};
use tempfile::TempDir;

use crate::rig::{LIMIT, Rig, until};

/// One member of Debian's etcd; killed when it is dropped.
pub(crate) struct Etcd {
    child: Child,
    endpoint: String,
    _folder: TempDir,
}

impl Etcd {
    pub(crate) fn start() -> Etcd {
        // In memory: what it flushes must not wait for the disk of a loaded machine.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let [client, peer] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [client, peer] = [client, peer].map(|port| format!("http://{}", port.local_addr().unwrap()));
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(folder.path())
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd of the package etcd-server");
        Etcd { child, endpoint: client, _folder: folder }
    }

    pub(crate) async fn open(&self) -> EtcdStore {
        let endpoints = vec![self.endpoint.clone()];
        let config =
            EtcdConfig { endpoints, prefix: "/test".to_owned(), ca: None, identity: None, user: None };
        let opened = async {
            loop {
                match EtcdStore::open(&config).await {
                    Ok(store) => return store,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::time::timeout(LIMIT, opened).await.expect("etcd serves")
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_follows_mounts_what_the_other_one_publishes_to_it() {
    let (first, second) = Rig::two_with_etcd();
    let leads = first.start().await;
    let mut follows = second.start().await;
    assert!(leads.orchestrator.leadership().leads);
    assert_eq!(follows.orchestrator.leadership().leader.as_deref(), Some("first"));
    follows.create("v", &[("size", "32MiB"), ("fileSystemType", "ext4")]).await.unwrap();
    let place = follows.mount("v", "one").await.unwrap();
    std::fs::write(place.join("file"), "kept").unwrap();
    assert!(leads.is_published("v"), "the leader has given the permit");
    let refused = leads.mount("v", "other").await.unwrap_err();
    assert!(refused.contains("in use on node `second`"), "{refused}");
    follows.unmount("v", "one").await.unwrap();
    until("it is free", || !leads.is_published("v")).await;

    // The other way round, with the file system that was made there; then the leader dies.
    let place = leads.mount("v", "two").await.unwrap();
    assert_eq!(std::fs::read_to_string(place.join("file")).unwrap(), "kept");
    leads.unmount("v", "two").await.unwrap();
    leads.kill().await;
    until("the other one leads", || follows.orchestrator.leadership().leads).await;
    let place = follows.mount("v", "three").await.unwrap();
    assert_eq!(std::fs::read_to_string(place.join("file")).unwrap(), "kept");
    follows.unmount("v", "three").await.unwrap();
    follows.remove("v").await.unwrap();
    follows.stop().await;
}
