//! The server dies in the middle of it all, and its callers go on asking.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::client::{At, Caller, Kind, until};
use crate::pools::may_make_pools;
use crate::rig::Rig;

const VOLUMES: usize = 18;
const SIZE: i64 = 16 << 20;
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn nothing_is_lost_or_doubled_when_the_server_is_killed_between_create_and_delete() {
    if !may_make_pools() {
        return;
    }
    let seed =
        std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut rig = Rig::bare();
    let socket = rig.path("csi.sock");
    let endpoint = format!("unix://{}", socket.display());
    rig.serve(&["--csi-endpoint", &endpoint]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();

    let caller = runtime.block_on(async { Caller::of(&socket) });
    let node_id = runtime.block_on(caller.node_id());
    let steps = Arc::new(AtomicUsize::new(0));
    let folder = rig.path("");
    let users: Vec<User> = (0..VOLUMES).map(|n| User::new(&folder, n)).collect();

    let bringing = users.iter().cloned().map(|user| {
        let (caller, node_id, steps) = (caller.clone(), node_id.clone(), steps.clone());
        runtime.spawn(async move { user.begin(&caller, &node_id, &steps).await })
    });
    let bringing: Vec<_> = bringing.collect();
    kill_between(&mut rig, &endpoint, &steps, &mut random, 3);
    for task in bringing {
        runtime.block_on(task).unwrap();
    }
    let listed = runtime.block_on(caller.volumes());
    let names: BTreeSet<String> =
        listed.iter().map(|entry| entry.volume.as_ref().unwrap().volume_id.clone()).collect();
    assert_eq!((listed.len(), names.len()), (VOLUMES, VOLUMES), "{names:?}");
    let published = |n: &str| *n == node_id;
    assert!(
        listed.iter().all(|e| e.status.as_ref().unwrap().published_node_ids.iter().all(|n| published(n)))
    );
    assert_eq!(on_pool(&rig.path("pool")), VOLUMES, "as many on the pool as were asked for");
    for user in &users {
        user.check();
    }
    rig.kill();
    rig.serve(&["--csi-endpoint", &endpoint]);
    for user in &users {
        user.check();
    }
    assert!(!rig.ok(&["doctor"]).contains("volume "), "{}", rig.ok(&["doctor"]));

    steps.store(0, Ordering::Relaxed);
    let ending = users.iter().cloned().map(|user| {
        let (caller, node_id, steps) = (caller.clone(), node_id.clone(), steps.clone());
        runtime.spawn(async move { user.end(&caller, &node_id, &steps).await })
    });
    let ending: Vec<_> = ending.collect();
    kill_between(&mut rig, &endpoint, &steps, &mut random, 2);
    for task in ending {
        runtime.block_on(task).unwrap();
    }
    assert!(runtime.block_on(caller.volumes()).is_empty());
    assert_eq!(on_pool(&rig.path("pool")), 0, "nothing is left on the pool");
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let left: Vec<&str> = mounts.lines().filter(|line| line.contains("/csi-")).collect();
    let ours = folder.display().to_string();
    assert!(!left.iter().any(|line| line.contains(&ours)), "{left:#?}");
    assert_eq!(rig.stop(), Some(0));
}

/// Whoever uses one volume.
#[derive(Clone)]
struct User {
    name: String,
    kind: Kind,
    at: At,
}

impl User {
    fn new(folder: &Path, n: usize) -> User {
        let name = format!("csi-{n}");
        User { at: At::new(folder, &name), name, kind: Kind::SMALL[n % Kind::SMALL.len()] }
    }

    async fn begin(&self, caller: &Caller, node_id: &str, steps: &AtomicUsize) {
        let create = Caller::create(&self.name, self.kind, SIZE);
        let made =
            until(|| async { caller.controller.clone().create_volume(create.clone()).await }).await.volume;
        assert_eq!(made.unwrap().volume_id, self.name);
        steps.fetch_add(1, Ordering::Relaxed);
        caller.bring(&self.name, self.kind, node_id, &self.at).await;
        let mut file =
            fs::File::options().write(true).create(true).truncate(false).open(self.file()).unwrap();
        file.write_all(self.name.as_bytes()).unwrap();
        file.sync_all().unwrap();
        steps.fetch_add(1, Ordering::Relaxed);
    }

    async fn end(&self, caller: &Caller, node_id: &str, steps: &AtomicUsize) {
        caller.take_away(&self.name, node_id, &self.at).await;
        assert!(!self.at.target.exists(), "{} stays", self.at.target.display());
        steps.fetch_add(1, Ordering::Relaxed);
        caller.delete(&self.name).await;
        steps.fetch_add(1, Ordering::Relaxed);
    }

    fn check(&self) {
        let mut found = vec![0; self.name.len()];
        let read = fs::File::open(self.file()).and_then(|mut file| file.read_exact(&mut found));
        assert_eq!((read.is_ok(), found.as_slice()), (true, self.name.as_bytes()), "{} {read:?}", self.name);
    }

    fn file(&self) -> std::path::PathBuf {
        match self.kind {
            Kind::Device => self.at.target.clone(),
            Kind::Files | Kind::Ext4 | Kind::Xfs => self.at.target.join("written"),
        }
    }
}

/// Kills the server when so many steps are done, and starts it again.
fn kill_between(
    rig: &mut Rig,
    endpoint: &str,
    steps: &AtomicUsize,
    random: &mut fastrand::Rng,
    kills: usize,
) {
    let all = 2 * VOLUMES;
    let mut moments: Vec<usize> = (0..kills).map(|_| random.usize(..all - 2)).collect();
    moments.sort_unstable();
    for moment in moments {
        let started = Instant::now();
        while steps.load(Ordering::Relaxed) < moment {
            assert!(started.elapsed() < LIMIT, "nothing goes on:\n{}", rig.log());
            std::thread::park_timeout(Duration::from_millis(1));
        }
        rig.kill();
        rig.serve(&["--csi-endpoint", endpoint]);
    }
}

/// Volumes on the pool, in whatever shape.
fn on_pool(pool: &Path) -> usize {
    let listed = Command::new("btrfs").args(["subvolume", "list"]).arg(pool).output().unwrap();
    String::from_utf8(listed.stdout).unwrap().lines().filter(|line| line.contains("csi-")).count()
}
