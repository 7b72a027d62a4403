//! Of which StorageClass each volume is.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use orchestrator::Orchestrator;

/// Learns from the PersistentVolumes of a driver which StorageClass they are of, and tells metrics.
///
/// # Behavior
/// One list and one watch; of each PersistentVolume two words are kept. One without a class is of none.
pub struct StorageClasses {
    client: Client,
    /// The driver's name.
    driver: String,
}

/// StorageClasses by the volume's handle.
#[derive(Default)]
struct Known {
    now: HashMap<String, String>,
    /// Those of a list that has not ended.
    listed: HashMap<String, String>,
}

impl StorageClasses {
    pub fn new(client: Client, driver: &str) -> StorageClasses {
        StorageClasses { client, driver: driver.to_owned() }
    }

    /// Works until `shutdown` ends.
    pub async fn serve(self, orchestrator: Orchestrator, shutdown: impl Future<Output = ()> + Send) {
        let known = Arc::new(RwLock::<Known>::default());
        let asked = known.clone();
        orchestrator.ask_storage_classes_of(Arc::new(move |record| {
            asked.read().unwrap_or_else(PoisonError::into_inner).now.get(record.id.as_str()).cloned()
        }));
        let volumes = Api::<PersistentVolume>::all(self.client);
        let watched = watcher(volumes, watcher::Config::default()).default_backoff();
        let learning = watched.for_each(async |event| match event {
            Ok(event) => known.write().unwrap_or_else(PoisonError::into_inner).learn(event, &self.driver),
            Err(error) => tracing::warn!(%error, "cannot watch PersistentVolumes; it is tried again"),
        });
        tokio::select! {
            () = learning => {}
            () = shutdown => {}
        }
    }
}

impl Known {
    fn learn(&mut self, event: Event<PersistentVolume>, driver: &str) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(volume) => self.listed.extend(read(volume, driver)),
            Event::InitDone => self.now = std::mem::take(&mut self.listed),
            Event::Apply(volume) => self.now.extend(read(volume, driver)),
            Event::Delete(volume) => {
                if let Some((handle, _)) = read(volume, driver) {
                    self.now.remove(&handle);
                }
            }
        }
    }
}

/// The handle and the class of a volume of the driver.
fn read(volume: PersistentVolume, driver: &str) -> Option<(String, String)> {
    let spec = volume.spec?;
    let csi = spec.csi.filter(|csi| csi.driver == driver)?;
    let class = spec.storage_class_name.filter(|class| !class.is_empty())?;
    Some((csi.volume_handle, class))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(handle: &str, driver: &str, class: &str) -> PersistentVolume {
        let csi = serde_json::json!({"driver": driver, "volumeHandle": handle});
        let spec = serde_json::json!({"csi": csi, "storageClassName": class});
        serde_json::from_value(serde_json::json!({"metadata": {"name": handle}, "spec": spec})).unwrap()
    }

    #[test]
    fn a_new_list_replaces_what_was_known_when_it_has_ended() {
        let mut known = Known::default();
        let mut learn = |event| {
            known.learn(event, "ours");
            let mut now: Vec<_> = known.now.iter().map(|(own, class)| format!("{own}={class}")).collect();
            now.sort();
            now.join(" ")
        };
        learn(Event::Init);
        assert_eq!(learn(Event::InitApply(volume("a", "ours", "gold"))), "");
        assert_eq!(learn(Event::InitDone), "a=gold");
        assert_eq!(learn(Event::Apply(volume("b", "another", "gold"))), "a=gold");
        assert_eq!(learn(Event::Apply(volume("c", "ours", ""))), "a=gold");
        assert_eq!(learn(Event::Apply(volume("d", "ours", "tin"))), "a=gold d=tin");
        assert_eq!(learn(Event::Delete(volume("a", "ours", "gold"))), "d=tin");
        learn(Event::Init);
        assert_eq!(learn(Event::InitApply(volume("e", "ours", "tin"))), "d=tin");
        assert_eq!(learn(Event::InitDone), "e=tin");
    }
}
