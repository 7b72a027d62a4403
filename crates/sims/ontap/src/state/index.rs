//! Ways to an object other than its key, so that an array of ten thousand volumes still answers at once.

use imbl::OrdMap;
use serde_json::Value;

use crate::record::text;

/// From what is asked for to the key of the object.
#[derive(Clone, Debug, Default)]
pub(super) struct Index(OrdMap<String, String>);

impl Index {
    pub(super) fn add(&mut self, table: &str, key: &str, record: &Value) {
        for way in ways(table, key, record) {
            self.0.insert(way, key.to_owned());
        }
    }

    pub(super) fn take(&mut self, table: &str, key: &str, record: &Value) {
        for way in ways(table, key, record) {
            // Two objects of one name, made behind the array's back: the other one's way stays.
            if self.0.get(&way).is_some_and(|own| own == key) {
                self.0.remove(&way);
            }
        }
    }

    pub(super) fn named(&self, table: &str, svm: &str, name: &str) -> Option<&str> {
        self.0.get(&by_name(table, svm, name)).map(String::as_str)
    }

    pub(super) fn mounted_at(&self, svm: &str, path: &str) -> Option<&str> {
        self.0.get(&by_junction(svm, path)).map(String::as_str)
    }

    pub(super) fn below(&self, kind: &str, parent: &str) -> impl Iterator<Item = &str> {
        let prefix = by_parent(kind, parent, "");
        self.0
            .range(prefix.clone()..)
            .take_while(move |(way, _)| way.starts_with(&prefix))
            .map(|(_, key)| key.as_str())
    }
}

fn ways(table: &str, key: &str, record: &Value) -> Vec<String> {
    let mut ways = Vec::new();
    let svm = text(record, "svm.uuid");
    if let (Some(svm), Some(name)) = (svm, text(record, "name")) {
        ways.push(by_name(table, svm, name));
    }
    let parent = |path: &str, kind: &str| text(record, path).map(|parent| by_parent(kind, parent, key));
    match table {
        "volumes" => {
            ways.extend(svm.zip(text(record, "nas.path")).map(|(svm, path)| by_junction(svm, path)));
            ways.extend(parent("nas.junction_parent.uuid", "volumes"));
        }
        "luns" | "namespaces" => ways.extend(parent("location.volume.uuid", table)),
        "nvme_maps" => ways.extend(parent("namespace.uuid", table)),
        _ => {}
    }
    ways
}

fn by_name(table: &str, svm: &str, name: &str) -> String {
    format!("name\0{table}\0{svm}\0{name}")
}

fn by_junction(svm: &str, path: &str) -> String {
    format!("junction\0{svm}\0{path}")
}

fn by_parent(kind: &str, parent: &str, key: &str) -> String {
    format!("parent\0{kind}\0{parent}\0{key}")
}
