//! A cluster without nodes that all tests share; each has a namespace of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use kube_suite::{Cluster, Door, Shared, until};
use serde_json::Value;
use store::suite::{Fixture, Limits};
use store::{Column, Definition, KubernetesConfig, KubernetesStore, Lease, Store as _, StoreError};

pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// Longer than any test that does not renew it.
const LONG: Duration = Duration::from_secs(600);

/// As Leister has them, as far as the suite knows their kinds.
pub(crate) const KINDS: [Definition; 2] = [
    Definition {
        kind: "volume",
        name: "Volume",
        plural: "volumes",
        about: "A volume.",
        columns: &[Column { title: "Size", path: ".spec.size", form: "integer", is_wide: false }],
        is_private: false,
    },
    Definition {
        kind: "node",
        name: "Node",
        plural: "nodes",
        about: "A node.",
        columns: &[],
        is_private: true,
    },
];

pub(crate) struct Site {
    cluster: Cluster,
    count: AtomicUsize,
    has_array: Mutex<bool>,
    /// What Leister said before the cluster knew of it.
    pub(crate) refusal: String,
}

/// A namespace, and our way to it.
pub(crate) struct Place {
    pub(crate) site: Arc<Site>,
    pub(crate) door: Door,
    pub(crate) config: KubernetesConfig,
    pub(crate) namespace: String,
}

impl std::ops::Deref for Site {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Site {
    /// The last test to let go of it ends it.
    pub(crate) fn shared() -> Result<Arc<Self>> {
        static SHARED: Shared<Site> = Shared::new();
        SHARED.get(Self::start)
    }

    /// Its own, for who ends the cluster's programs.
    pub(crate) fn own() -> Result<Arc<Self>> {
        Self::start().map(Arc::new)
    }

    fn start() -> Result<Self> {
        let started = Instant::now();
        let cluster = Cluster::start_without_nodes()?;
        println!("cluster up in {:.1?}", started.elapsed());
        let mut site =
            Self { cluster, count: AtomicUsize::new(0), has_array: Mutex::default(), refusal: String::new() };
        let admin = site.path("admin.kubeconfig").display().to_string();
        site.refusal = site.refused(&["--kubeconfig", &admin])?;
        site.apply(include_str!("../../../../deploy/kubernetes/crds.yaml"))?;
        for plural in ["volumes", "nodes", "commits", "letters", "settings"] {
            site.wait(&format!("crd/{plural}.leister.io"), "condition=Established")?;
        }
        Ok(site)
    }

    /// Why `leister run --store kubernetes` does not start with these words.
    pub(crate) fn refused(&self, more: &[&str]) -> Result<String> {
        let state = self.path("refused.state").display().to_string();
        let words = ["run", "--store=kubernetes", "--listen=none", "--node=x", "--state-dir", &state];
        let said = self.leister(&[&words, more].concat())?;
        Ok(format!("{:#}", said.ok().err().context("it is taken")?))
    }

    /// A simulated array, started when it is first asked for.
    pub(crate) fn array_up(&self) -> Result<()> {
        let mut has_array = self.has_array.lock().unwrap_or_else(PoisonError::into_inner);
        if !*has_array {
            self.serve_array()?;
            *has_array = true;
        }
        Ok(())
    }

    pub(crate) fn place(self: &Arc<Self>) -> Result<Place> {
        let namespace = format!("store-{}", self.count.fetch_add(1, Ordering::Relaxed));
        self.kubectl(&["create", "namespace", &namespace])?.ok()?;
        let (door, kubeconfig) = self.door()?;
        let config = KubernetesConfig {
            kubeconfig: Some(kubeconfig),
            namespace: Some(namespace.clone()),
            lasts: LONG,
            kinds: KINDS.to_vec(),
        };
        Ok(Place { site: self.clone(), door, config, namespace })
    }
}

impl Place {
    pub(crate) async fn store(&self) -> Result<KubernetesStore, StoreError> {
        KubernetesStore::open(&self.config).await
    }

    pub(crate) async fn brief_store(&self, seconds: u64) -> Result<KubernetesStore, StoreError> {
        let config = KubernetesConfig { lasts: Duration::from_secs(seconds), ..self.config.clone() };
        KubernetesStore::open(&config).await
    }

    /// `kubectl` in the namespace.
    pub(crate) fn kubectl(&self, words: &[&str]) -> Result<String> {
        self.site.kubectl(&[&["-n", &self.namespace], words].concat())?.ok()
    }

    pub(crate) fn get(&self, what: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&["get", what, "-o", "json"])?)?)
    }

    pub(crate) fn count(&self, resource: &str) -> Result<usize> {
        let names = self.kubectl(&["get", &format!("{resource}.leister.io"), "-o", "name"])?;
        Ok(names.lines().count())
    }
}

/// Asks until it is had.
pub(crate) async fn acquired(store: &KubernetesStore, holder: &str) -> Result<Lease, StoreError> {
    let started = Instant::now();
    loop {
        match store.acquire(holder).await {
            Err(StoreError::Held { .. } | StoreError::Unavailable { .. }) if started.elapsed() < LIMIT => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            acquired => return acquired,
        }
    }
}

/// One for each test of the suite.
pub(crate) async fn open() -> Option<Fixture> {
    if let Some(reason) = kube_suite::lacking() {
        println!("skipped: {reason}");
        return None;
    }
    let place = tokio::task::block_in_place(|| Site::shared().and_then(|site| site.place()));
    let place = place.unwrap_or_else(|e| panic!("no cluster: {e:#}"));
    let store = place.store().await.unwrap_or_else(|e| panic!("no store: {e}"));
    let limits = Limits { largest: 512 << 10, behind: 512 };
    Some(Fixture::new(Arc::new(store), place).with_limits(limits))
}

pub(crate) fn until_ready(site: &Site) -> Result<()> {
    until("the apiserver again", LIMIT, || {
        site.kubectl(&["--request-timeout=5s", "get", "--raw", "/readyz"]).ok()?.ok().ok()
    })
    .map(drop)
}
