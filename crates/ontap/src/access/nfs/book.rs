use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use driver::Result;
use model::NodeName;

use crate::access::PERMIT;
use crate::client;
use crate::error::EXISTS;
use crate::layout::Array;
use crate::wire::exports::{self, NewRule, Policy};

/// Which node has which address, kept on the array.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// What was read last: address to node.
    known: Mutex<HashMap<String, NodeName>>,
    /// Addresses that are let through the FlexVols around qtrees.
    doors: Mutex<HashSet<String>>,
}

impl Book {
    /// Notes a node's addresses on the array before any rule names one of them.
    pub(crate) async fn enter(&self, array: &Array, node: &NodeName, addresses: &[String]) -> Result<()> {
        if self.has(node, addresses) {
            return Ok(());
        }
        let (client, svm, entry) = (&array.client, &array.svm, array.entry(node));
        let fail = array.error(PERMIT);
        let rule = NewRule::for_addresses(addresses.to_vec(), true, false);
        match exports::create(client, svm, &entry, std::slice::from_ref(&rule)).await {
            Ok(()) => {}
            Err(error) if error.is(EXISTS) => {
                if let Some(policy) = exports::find(client, svm, &entry).await.map_err(&fail)?
                    && !policy.rules.iter().any(|seen| seen.is(&rule))
                {
                    exports::add_rule(client, policy.id, &rule).await.map_err(&fail)?;
                }
            }
            Err(error) => return Err(fail(error)),
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(addresses.iter().map(|address| (address.clone(), node.clone())));
        Ok(())
    }

    /// Lets addresses through the FlexVols around qtrees, to read and no more.
    pub(crate) async fn open_doors(&self, array: &Array, addresses: &[String]) -> Result<()> {
        let doors = || self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.iter().all(|address| doors().contains(address)) {
            return Ok(());
        }
        let (client, svm, name, fail) = (&array.client, &array.svm, array.doors(), array.error(PERMIT));
        match exports::create(client, svm, &name, &[]).await {
            Err(error) if !error.is(EXISTS) => return Err(fail(error)),
            _ => {}
        }
        if let Some(policy) = exports::find(client, svm, &name).await.map_err(&fail)? {
            let clients = policy.rules.iter().flat_map(|rule| &rule.clients);
            doors().extend(clients.map(|client| client.pattern.clone()));
            let missing: Vec<String> =
                addresses.iter().filter(|address| !doors().contains(*address)).cloned().collect();
            if !missing.is_empty() {
                let rule = NewRule::to_pass(missing);
                exports::add_rule(client, policy.id, &rule).await.map_err(fail)?;
            }
            doors().extend(addresses.iter().cloned());
        }
        Ok(())
    }

    /// The nodes behind addresses. The book is read only when a rule names an address that is not known yet.
    pub(crate) async fn nodes(
        &self,
        array: &Array,
        policies: &[Policy],
    ) -> client::Result<HashMap<String, NodeName>> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut addresses = policies.iter().flat_map(|policy| &policy.rules).flat_map(|rule| &rule.clients);
        let now = known();
        if addresses.all(|client| now.contains_key(&client.pattern)) {
            return Ok(now);
        }
        self.read(array).await?;
        Ok(known())
    }

    /// Reads the book from the array.
    pub(crate) async fn read(&self, array: &Array) -> client::Result<()> {
        let entries = exports::list(&array.client, &array.svm, &array.entries("*")).await?;
        let mut read = HashMap::new();
        for entry in entries {
            let Some(node) = array.node_of(&entry.name) else { continue };
            let clients = entry.rules.into_iter().flat_map(|rule| rule.clients);
            read.extend(clients.map(|client| (client.pattern, node.clone())));
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).extend(read);
        Ok(())
    }

    fn has(&self, node: &NodeName, addresses: &[String]) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.iter().all(|address| known.get(address) == Some(node))
    }
}

impl Array {
    fn entry(&self, node: &NodeName) -> String {
        self.entries(node.as_str())
    }

    fn entries(&self, node: &str) -> String {
        format!("node.{}.{node}", self.instance)
    }

    fn node_of(&self, entry: &str) -> Option<NodeName> {
        NodeName::new(entry.strip_prefix(&self.entries(""))?).ok()
    }
}
