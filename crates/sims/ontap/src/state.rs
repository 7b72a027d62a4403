//! All objects of the array: tables of JSON documents.

mod index;

use std::sync::Arc;

use imbl::OrdMap;
use serde_json::{Map, Value};

use crate::record;

type Table = OrdMap<String, Arc<Value>>;

/// The objects of the array. A clone shares all of them, so that each call works on its own copy and what it changed
/// is taken over as a whole or not at all.
///
/// Tables are `volumes`, `snapshots`, `export_rules` and so on; a key is an object's identity on the wire, with those
/// of its parents in front: `UUID`, `VOLUME_UUID/SNAPSHOT_UUID`, `POLICY_ID/INDEX`. A field that begins with `_` is
/// the simulator's own and never shown.
#[derive(Clone, Debug, Default)]
pub struct State {
    tables: OrdMap<String, Table>,
    index: index::Index,
    serial: u64,
}

impl State {
    /// All objects of a table, by key.
    pub fn list<'a>(&'a self, table: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.entries(table, "").map(|(_, record)| record)
    }

    /// The objects of a table whose keys begin with `parents`.
    pub fn entries<'a>(
        &'a self,
        table: &str,
        parents: &str,
    ) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        let parents = parents.to_owned();
        self.tables.get(table).into_iter().flat_map(move |table| {
            let parents = parents.clone();
            table
                .range(parents.clone()..)
                .take_while(move |(key, _)| key.starts_with(&parents))
                .map(|(key, record)| (key.as_str(), &**record))
        })
    }

    /// The objects of a table from a key on, which need not be there itself.
    pub(crate) fn entries_after<'a>(
        &'a self,
        table: &str,
        key: &str,
    ) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let after = (std::ops::Bound::Excluded(key.to_owned()), std::ops::Bound::Unbounded);
        let table = self.tables.get(table).into_iter();
        table.flat_map(move |table| table.range(after.clone())).map(|(key, record)| (key.as_str(), &**record))
    }

    /// The object with this key.
    pub fn find(&self, table: &str, key: &str) -> Option<&Value> {
        self.tables.get(table)?.get(key).map(|record| &**record)
    }

    /// The first object whose field has this value, with its key.
    pub fn find_by(&self, table: &str, path: &str, value: &str) -> Option<(&str, &Value)> {
        self.entries(table, "").find(|(_, record)| record::text(record, path) == Some(value))
    }

    /// How many objects a table has.
    pub fn count(&self, table: &str) -> usize {
        self.tables.get(table).map_or(0, OrdMap::len)
    }

    /// The object of an SVM with this name.
    pub(crate) fn find_named(&self, table: &str, svm: &str, name: &str) -> Option<&Value> {
        self.entry_named(table, svm, name).map(|(_, record)| record)
    }

    /// The same with its key.
    pub(crate) fn entry_named(&self, table: &str, svm: &str, name: &str) -> Option<(&str, &Value)> {
        let key = self.index.named(table, svm, name)?;
        Some((key, self.find(table, key)?))
    }

    /// The volume that is mounted at a junction.
    pub(crate) fn mounted_at(&self, svm: &str, path: &str) -> Option<&Value> {
        self.find("volumes", self.index.mounted_at(svm, path)?)
    }

    /// What belongs to a parent: volumes to the volume they are mounted on, LUNs and namespaces to their volume, NVMe
    /// maps to their namespace.
    pub(crate) fn below<'a>(
        &'a self,
        table: &'a str,
        parent: &str,
    ) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.index.below(table, parent).filter_map(move |key| Some((key, self.find(table, key)?)))
    }

    /// Puts an object in its place, over what is there.
    pub fn put(&mut self, table: &str, key: &str, record: Value) {
        if let Some(before) = self.tables.get(table).and_then(|table| table.get(key)) {
            self.index.take(table, key, before);
        }
        self.index.add(table, key, &record);
        self.tables.entry(table.to_owned()).or_default().insert(key.to_owned(), Arc::new(record));
    }

    /// Changes an object; false when there is none.
    pub fn change(&mut self, table: &str, key: &str, change: impl FnOnce(&mut Value)) -> bool {
        let Some(record) = self.tables.get_mut(table).and_then(|table| table.get_mut(key)) else {
            return false;
        };
        self.index.take(table, key, record);
        change(Arc::make_mut(record));
        self.index.add(table, key, record);
        true
    }

    /// Takes an object out. What depends on it stays as it is: this is how an array gets broken on purpose.
    pub fn remove(&mut self, table: &str, key: &str) -> Option<Value> {
        let record = self.tables.get_mut(table)?.remove(key)?;
        self.index.take(table, key, &record);
        Some(Arc::unwrap_or_clone(record))
    }

    /// Takes the objects out whose keys begin with `parents`.
    pub fn remove_all(&mut self, table: &str, parents: &str) {
        let keys: Vec<String> = self.entries(table, parents).map(|(key, _)| key.to_owned()).collect();
        for key in keys {
            self.remove(table, &key);
        }
    }

    /// The next number of a series that never repeats.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Takes over how far the series of another copy has come.
    pub(crate) fn skip_numbers(&mut self, other: &Self) {
        self.serial = self.serial.max(other.serial);
    }

    /// All tables as one document.
    pub fn dump(&self) -> Value {
        let tables = self.tables.iter().map(|(name, table)| {
            let records = table.iter().map(|(key, record)| (key.clone(), (**record).clone()));
            (name.clone(), Value::Object(records.collect()))
        });
        let mut dump: Map<String, Value> = tables.collect();
        dump.insert("_serial".into(), self.serial.into());
        Value::Object(dump)
    }

    /// The state that [`State::dump`] wrote; none when the document is no such state.
    pub fn from_dump(dump: &Value) -> Option<Self> {
        let mut state = Self::default();
        for (name, records) in dump.as_object()? {
            if name == "_serial" {
                state.serial = records.as_u64()?;
                continue;
            }
            for (key, record) in records.as_object()? {
                state.put(name, key, record.clone());
            }
        }
        Some(state)
    }
}
