//! A simulated array as a fixture.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use driver::config::BackendFile;
use driver::conformance::Fixture;
use driver::{CreateVolume, Driver};
use model::{
    AccessMode, Bytes, Handle, InstanceId, Labels, Layout, NodeIdentity, NodeName, PoolName, Provisioning,
    Route, VolumeId, VolumeOption, VolumeOptions, VolumeSpec,
};
use serde_json::{Value, json};
use sim_ontap::{Builder, Sim, State};

#[derive(Debug)]
pub(crate) struct Array {
    pub(crate) sim: Sim,
    file: BackendFile,
    driver: Mutex<Arc<dyn Driver>>,
}

impl Array {
    pub(crate) async fn new(driver: &str, rest: &str) -> Array {
        Array::with(driver, rest, |sim| sim).await
    }

    pub(crate) async fn with(driver: &str, rest: &str, change: impl FnOnce(Builder) -> Builder) -> Array {
        let sim = Sim::builder().svm("svm1").user("admin", "netapp123").aggregate("aggr1", 64 << 30, "ssd");
        let sim = change(sim).start().await.unwrap();
        let file = file(&sim, driver, rest);
        let driver = Mutex::new(open(&file).await);
        Array { sim, file, driver }
    }

    /// The name of the volume that a route leads to.
    fn volume(&self, route: &Route) -> String {
        let state = self.sim.state();
        match route {
            Route::Nfs(route) => route.path.rsplit('/').next().unwrap().to_owned(),
            Route::Iscsi(route) => {
                let (_, lun) = state.find_by("luns", "serial_number", &route.serial).unwrap();
                match self.shared() {
                    Some(_) => lun["name"].as_str().unwrap().rsplit('/').next().unwrap().to_owned(),
                    None => in_volume(lun),
                }
            }
            Route::Nvme(route) => {
                let model::NamespaceId::Uuid(uuid) = &route.namespace else { panic!("{route:?}") };
                in_volume(state.find_by("namespaces", "uuid", uuid).unwrap().1)
            }
            Route::Local { .. } => panic!("{route:?}"),
        }
    }

    /// The table of what shares a volume.
    fn shared(&self) -> Option<&'static str> {
        match self.file.driver_name() {
            "ontap-san-economy" => Some("luns"),
            "ontap-nas-economy" => Some("qtrees"),
            _ => None,
        }
    }

    fn find_shared<'a>(&self, state: &'a State, table: &str, name: &str) -> Option<(&'a str, &'a Value)> {
        let base = |record: &Value| record["name"].as_str().unwrap().rsplit('/').next().unwrap() == name;
        state.entries(table, "").find(|(_, record)| base(record))
    }

    fn is_nvme(&self) -> bool {
        self.file.section().text("sanType").unwrap().as_deref() == Some("nvme")
    }

    /// Where an application's number is kept: with the LUN where LUNs share a volume, else with the volume.
    fn content(&self, volume: &str) -> Option<u64> {
        let state = self.sim.state();
        if let Some(table) = self.shared() {
            let (_, record) = self.find_shared(&state, table, volume)?;
            return Some(record["_content"].as_u64().unwrap_or(0));
        }
        let (_, record) = state.find_by("volumes", "name", volume)?;
        Some(record["_used"].as_u64().unwrap_or(0))
    }

    fn fill(&self, volume: &str, content: u64) {
        let mut state = self.sim.edit();
        if let Some(table) = self.shared() {
            let key = self.find_shared(&state, table, volume).unwrap().0.to_owned();
            assert!(state.change(table, &key, |record| record["_content"] = json!(content)));
            return;
        }
        let key = state.find_by("volumes", "name", volume).unwrap().0.to_owned();
        assert!(state.change("volumes", &key, |record| record["_used"] = json!(content)));
    }

    /// Another backend of the same instance on the same SVM.
    pub(crate) async fn beside(&self, driver: &str, rest: &str) -> Arc<dyn Driver> {
        open(&file(&self.sim, driver, rest)).await
    }

    pub(crate) fn file(&self) -> BackendFile {
        self.file.clone()
    }

    /// As a new process would, which may fail.
    pub(crate) async fn open_again(&self) -> driver::Result<Arc<dyn Driver>> {
        ontap::open(&self.file, InstanceId::new("ours").unwrap()).await
    }

    /// The same backend under another account.
    pub(crate) async fn as_user(
        &self,
        user: &str,
        password: &str,
        rest: &str,
    ) -> driver::Result<Arc<dyn Driver>> {
        let text = format!(
            "version: 1\nstorageDriverName: {}\nbackendName: gold\nmanagementLIF: {}\nsvm: svm1\nusername: {user}\n\
             password: {password}\n{rest}\n",
            self.file.driver_name(),
            self.sim.address()
        );
        let file = BackendFile::parse(&text, "gold.yaml").unwrap();
        ontap::open(&file, InstanceId::new("ours").unwrap()).await
    }

    /// Volumes of ours, made past the wire and, but for the first, past the array's rules.
    pub(crate) async fn plant_many(&self, count: usize) {
        let name = |n: usize| format!("leister_m{n}");
        let tag = |n: usize| json!({"leister": {"instance": "ours", "volume": format!("m{n}")}}).to_string();
        let first = json!({
            "name": name(0), "svm": {"name": "svm1"}, "size": 20 << 20, "aggregates": [{"name": "aggr1"}],
            "comment": tag(0), "guarantee": {"type": "none"},
        });
        self.ask("/storage/volumes", first).await;
        let mut state = self.sim.edit();
        let first = state.find_by("volumes", "name", &name(0)).unwrap().1.clone();
        for n in 1..count {
            let mut volume = first.clone();
            let uuid = format!("00000000-0000-4000-8000-{n:012}");
            volume["name"] = json!(name(n));
            volume["comment"] = json!(tag(n));
            volume["uuid"] = json!(uuid);
            state.put("volumes", &uuid, volume);
        }
    }

    /// A person takes a snapshot at the array.
    pub(crate) async fn snap_by_hand(&self, handle: &Handle, snapshot: &str) {
        let uuid = {
            let state = self.sim.state();
            state.find_by("volumes", "name", handle.as_str()).unwrap().1["uuid"].as_str().unwrap().to_owned()
        };
        self.ask(&format!("/storage/volumes/{uuid}/snapshots"), json!({"name": snapshot})).await;
    }

    pub(crate) async fn ask(&self, path: &str, body: Value) {
        let (status, answer) = self.sim.ask("POST", path, body).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        self.sim.finish_jobs();
    }
}

/// A volume of 1 GiB, as a user would ask for it.
pub(crate) fn request(driver: &dyn Driver, name: &str) -> CreateVolume {
    let volume = VolumeId::new(name).unwrap();
    CreateVolume {
        handle: driver.handle(&volume).unwrap(),
        volume,
        pool: PoolName::new(if driver.info().driver == "ontap-nas-flexgroup" { "svm1" } else { "aggr1" })
            .unwrap(),
        spec: VolumeSpec {
            size: Bytes::gib(1),
            layout: if driver.staging().is_some() { Layout::Block } else { Layout::File },
            filesystem: None,
            provisioning: Provisioning::Thin,
            access: AccessMode::default(),
            class: None,
            source: None,
            options: VolumeOptions::new(),
            mount_options: Vec::new(),
            labels: Labels::new(),
        },
    }
}

fn file(sim: &Sim, driver: &str, rest: &str) -> BackendFile {
    let text = format!(
        "version: 1\nstorageDriverName: {driver}\nbackendName: gold\nmanagementLIF: {}\nsvm: svm1\n\
         username: admin\npassword: netapp123\n{rest}\n",
        sim.address()
    );
    BackendFile::parse(&text, "gold.yaml").unwrap()
}

async fn open(file: &BackendFile) -> Arc<dyn Driver> {
    ontap::open(file, InstanceId::new("ours").unwrap()).await.unwrap()
}

fn in_volume(unit: &Value) -> String {
    unit["name"].as_str().unwrap().split('/').nth(2).unwrap().to_owned()
}

#[async_trait]
impl Fixture for Array {
    fn driver(&self) -> Arc<dyn Driver> {
        self.driver.lock().unwrap().clone()
    }

    async fn reopen(&self) {
        let driver = open(&self.file).await;
        *self.driver.lock().unwrap() = driver;
    }

    fn layout(&self) -> Layout {
        if self.file.driver_name().starts_with("ontap-san") { Layout::Block } else { Layout::File }
    }

    fn changes(&self) -> VolumeOptions {
        let (option, value) = match self.file.driver_name() {
            "ontap-san" => (VolumeOption::SnapshotPolicy, "default"),
            "ontap-san-economy" => (VolumeOption::QosPolicy, "none"),
            _ => (VolumeOption::UnixPermissions, "0750"),
        };
        VolumeOptions::from([(option, value.to_owned())])
    }

    fn nodes(&self) -> Vec<NodeIdentity> {
        let node = |n: u8| NodeIdentity {
            addresses: vec![format!("10.0.0.{n}").parse().unwrap()],
            initiator: Some(format!("iqn.1993-08.org.debian:01:{n}")),
            nqn: Some(format!("nqn.2014-08.org.nvmexpress:uuid:{n}")),
            ..NodeIdentity::named(NodeName::new(format!("node{n}")).unwrap())
        };
        // A namespace lies in one subsystem, so one node at most reaches it.
        if self.is_nvme() { vec![node(1)] } else { vec![node(1), node(2)] }
    }

    async fn write(&self, route: &Route, content: u64) {
        self.fill(&self.volume(route), content);
    }

    async fn read(&self, route: &Route) -> u64 {
        self.content(&self.volume(route)).unwrap()
    }

    async fn plant(&self, name: &str, size: Bytes, owner: Option<&InstanceId>, content: u64) -> bool {
        let name = if name == "original" { name.to_owned() } else { name.replace('-', "_") };
        let comment =
            owner.map(|owner| json!({"leister": {"instance": owner, "volume": "somebodys"}}).to_string());
        if self.shared() == Some("qtrees") {
            let shelf = format!("shelf_{name}");
            let volume = json!({
                "name": shelf, "svm": {"name": "svm1"}, "size": size.get() * 2, "aggregates": [{"name": "aggr1"}],
                "nas": {"path": format!("/{shelf}")},
            });
            self.ask("/storage/volumes", volume).await;
            let policy = match owner {
                Some(owner) => {
                    let policy = format!("{name}.{}.{owner}.somebodys", owner.as_str().len());
                    let body = json!({"name": policy, "svm": {"name": "svm1"}});
                    self.ask("/protocols/nfs/export-policies", body).await;
                    policy
                }
                None => "default".to_owned(),
            };
            let place = json!({"svm": {"name": "svm1"}, "volume": {"name": shelf}});
            let mut qtree = place.clone();
            qtree["name"] = json!(name);
            qtree["export_policy"] = json!({"name": policy});
            self.ask("/storage/qtrees", qtree).await;
            let mut rule = place;
            rule["type"] = json!("tree");
            rule["qtree"] = json!({"name": name});
            rule["space"] = json!({"hard_limit": size.get()});
            self.ask("/storage/quota/rules", rule).await;
            self.fill(&name, content);
            return true;
        }
        if self.shared() == Some("luns") {
            let shelf = format!("shelf_{name}");
            let volume = json!({
                "name": shelf, "svm": {"name": "svm1"}, "size": size.get() * 2, "aggregates": [{"name": "aggr1"}],
            });
            self.ask("/storage/volumes", volume).await;
            let owner = owner.map(|owner| {
                json!({"leister": {"instance": owner, "volume": "somebodys", "holds": "sharedlun"}})
                    .to_string()
            });
            let lun = json!({
                "name": format!("/vol/{shelf}/{name}"), "svm": {"name": "svm1"}, "os_type": "linux",
                "space": {"size": size.get()}, "comment": owner.unwrap_or_default(),
            });
            self.ask("/storage/luns", lun).await;
            self.fill(&name, content);
            return true;
        }
        let group = self.file.driver_name() == "ontap-nas-flexgroup";
        let mut volume = json!({
            "name": name, "svm": {"name": "svm1"}, "size": size.get() * 2, "aggregates": [{"name": "aggr1"}],
            "comment": comment.unwrap_or_default(),
        });
        if group {
            volume["style"] = json!("flexgroup");
        }
        self.ask("/storage/volumes", volume).await;
        if self.layout() == Layout::Block {
            let (path, unit) = if self.is_nvme() {
                ("/storage/namespaces", "namespace0")
            } else {
                ("/storage/luns", "lun0")
            };
            let unit = json!({
                "name": format!("/vol/{name}/{unit}"), "svm": {"name": "svm1"}, "os_type": "linux",
                "space": {"size": size.get()},
            });
            self.ask(path, unit).await;
        }
        self.fill(&name, content);
        true
    }

    async fn planted(&self, name: &str) -> Option<u64> {
        self.content(name)
    }
}
