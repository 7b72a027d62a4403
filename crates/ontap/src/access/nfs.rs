//! Export policies: each volume in use has one of its own, with one rule for each node.
//!
//! A volume that nobody uses has the policy without rules that all share. The array keeps no names in rules, so
//! each node has an entry in our address book there: a policy that no volume uses, whose rule lists its addresses.

mod book;

use std::collections::{BTreeSet, HashMap};

use driver::{DriverError, ErrorKind, Outcome, Result};
use model::{Handle, NfsRoute, NodeName, Permit, Route};

use super::{FORBID, PERMIT, lacking, taken};
use crate::error::{ABSENT, EXISTS};
use crate::layout::{Array, Seen};
use crate::wire::Named;
use crate::wire::exports::{self, NewRule, Policy, Rule};
use crate::wire::qtrees::Qtree;
use crate::wire::volumes::{self, Change, Nas};

pub(crate) use book::Book;

/// Where the SVM shows a volume.
pub(crate) fn junction(handle: &Handle) -> String {
    format!("/{handle}")
}

impl Array {
    /// The policy of volumes that nobody uses.
    pub(crate) fn empty_policy(&self) -> String {
        format!("{}empty", self.config.prefix)
    }

    /// # Behavior
    /// The policy is made with its first rule in one call, so that of two nodes that want a volume alone, one
    /// makes it and the other finds it.
    pub(crate) async fn export(
        &self,
        book: &Book,
        handle: &Handle,
        seen: &Seen,
        permit: &Permit,
    ) -> Result<Outcome<Route>> {
        let addresses = self.addresses(permit)?;
        book.enter(self, &permit.node.name, &addresses).await?;
        let route = Route::Nfs(NfsRoute {
            server: self.server()?,
            path: junction(handle),
            mount_options: self.config.nfs_mount_options.clone(),
        });
        let rule = NewRule::for_addresses(addresses, permit.read_only, permit.exclusive);
        let fail = self.error(PERMIT);
        let mut changed = !seen.exported;
        if seen.exported || !self.make_policy(handle, &rule).await? {
            let policy = exports::find(&self.client, &self.svm, handle.as_str()).await.map_err(&fail)?;
            match policy {
                Some(policy) => changed |= self.add_rule(book, handle, &policy, permit, rule).await?,
                None if self.make_policy(handle, &rule).await? => changed = true,
                None => {
                    let message = format!("`{handle}` is being permitted to another node at this moment");
                    return Err(DriverError::new(ErrorKind::InUse, PERMIT, message));
                }
            }
        }
        if !seen.exported {
            match self.use_policy(&seen.uuid, handle.as_str()).await {
                Ok(()) => self.known.change(handle, |seen| seen.exported = true),
                Err(error) if error.is(ABSENT) => {
                    // The volume has gone meanwhile: so does what was made for it.
                    exports::delete(&self.client, &self.svm, handle.as_str()).await.map_err(&fail)?;
                    return Err(fail(error));
                }
                Err(error) => return Err(fail(error)),
            }
        }
        Ok(if changed { Outcome::Changed(route) } else { Outcome::Unchanged(route) })
    }

    /// A rule in the qtree's own policy, and one that lets the node through the FlexVol around it.
    pub(crate) async fn export_qtree(
        &self,
        book: &Book,
        handle: &Handle,
        qtree: &Qtree,
        permit: &Permit,
    ) -> Result<Outcome<Route>> {
        let addresses = self.addresses(permit)?;
        book.enter(self, &permit.node.name, &addresses).await?;
        book.open_doors(self, &addresses).await?;
        let rule = NewRule::for_addresses(addresses, permit.read_only, permit.exclusive);
        let name = qtree.policy().unwrap_or_default();
        let policy = exports::find(&self.client, &self.svm, name).await.map_err(self.error(PERMIT))?;
        let Some(policy) = policy else {
            let message = format!("`{handle}` has lost its export policy `{name}`");
            return Err(DriverError::new(ErrorKind::NotFound, PERMIT, message));
        };
        let changed = self.add_rule(book, handle, &policy, permit, rule).await?;
        let route = Route::Nfs(NfsRoute {
            server: self.server()?,
            path: qtree.path(),
            mount_options: self.config.nfs_mount_options.clone(),
        });
        Ok(if changed { Outcome::Changed(route) } else { Outcome::Unchanged(route) })
    }

    /// `Ok(false)`: the volume has one.
    async fn make_policy(&self, handle: &Handle, rule: &NewRule) -> Result<bool> {
        match exports::create(&self.client, &self.svm, handle.as_str(), std::slice::from_ref(rule)).await {
            Ok(()) => Ok(true),
            Err(error) if error.is(EXISTS) => Ok(false),
            Err(error) => Err(self.error(PERMIT)(error)),
        }
    }

    /// Says whether anything had to be done.
    async fn add_rule(
        &self,
        book: &Book,
        handle: &Handle,
        policy: &Policy,
        permit: &Permit,
        rule: NewRule,
    ) -> Result<bool> {
        let (node, fail) = (&permit.node.name, self.error(PERMIT));
        let nodes = book.nodes(self, std::slice::from_ref(policy)).await.map_err(&fail)?;
        let of = |rule: &Rule| rule.clients.iter().find_map(|client| nodes.get(&client.pattern));
        let (ours, others): (Vec<&Rule>, Vec<&Rule>) =
            policy.rules.iter().filter(|rule| of(rule).is_some()).partition(|rule| of(rule) == Some(node));
        if let Some(other) = others.iter().find(|other| permit.exclusive || other.is_exclusive()) {
            return Err(taken(handle, of(other).map_or("another", NodeName::as_str)));
        }
        let (same, stale): (Vec<&Rule>, Vec<&Rule>) = ours.into_iter().partition(|seen| seen.is(&rule));
        if same.is_empty() {
            exports::add_rule(&self.client, policy.id, &rule).await.map_err(&fail)?;
        }
        for seen in &stale {
            exports::delete_rule(&self.client, policy.id, seen.index).await.map_err(&fail)?;
        }
        if same.is_empty() && permit.exclusive {
            // Two may have found a policy without rules at the same moment: then neither gets the volume.
            let now = exports::find(&self.client, &self.svm, &policy.name).await.map_err(&fail)?;
            let rules = now.map(|policy| policy.rules).unwrap_or_default();
            if let Some(other) = rules.iter().find(|seen| of(seen).is_some_and(|other| other != node)) {
                self.unexport(book, handle, &policy.name, node).await?;
                return Err(taken(handle, of(other).map_or("another", NodeName::as_str)));
            }
        }
        Ok(same.is_empty() || !stale.is_empty())
    }

    /// Takes the rules of a node; the last one's end gives the volume the policy without rules again.
    pub(crate) async fn unexport(
        &self,
        book: &Book,
        handle: &Handle,
        policy: &str,
        node: &NodeName,
    ) -> Result<bool> {
        let fail = self.error(FORBID);
        let Some(policy) = exports::find(&self.client, &self.svm, policy).await.map_err(&fail)? else {
            return Ok(false);
        };
        let nodes = book.nodes(self, std::slice::from_ref(&policy)).await.map_err(&fail)?;
        let is_ours =
            |rule: &&Rule| rule.clients.iter().any(|client| nodes.get(&client.pattern) == Some(node));
        let ours: Vec<&Rule> = policy.rules.iter().filter(is_ours).collect();
        // From the highest index on: the array numbers the rest anew.
        for rule in ours.iter().rev() {
            match exports::delete_rule(&self.client, policy.id, rule.index).await {
                Err(error) if !error.is(ABSENT) => return Err(fail(error)),
                _ => {}
            }
        }
        // A qtree keeps its policy: that is its tag.
        if ours.len() == policy.rules.len() && !self.config.kind.is_economy() {
            self.drop_policy(handle).await?;
        }
        Ok(!ours.is_empty())
    }

    /// Gives a volume the policy without rules, and deletes its own.
    async fn drop_policy(&self, handle: &Handle) -> Result<()> {
        let fail = self.error(FORBID);
        if let Some(volume) = volumes::find(&self.client, &self.svm, handle.as_str()).await.map_err(&fail)?
            && volume.policy() == Some(handle.as_str())
        {
            self.use_policy(&volume.uuid, &self.empty_policy()).await.map_err(&fail)?;
        }
        match exports::delete(&self.client, &self.svm, handle.as_str()).await {
            Err(error) if !error.is(ABSENT) => Err(fail(error)),
            _ => Ok(()),
        }
    }

    /// Who can reach these volumes: one paged call, however many.
    pub(crate) async fn exported(
        &self,
        book: &Book,
        only: Option<&str>,
    ) -> crate::client::Result<HashMap<String, BTreeSet<NodeName>>> {
        let pattern = only.map_or_else(|| format!("{}*", self.config.prefix), str::to_owned);
        let policies = exports::list(&self.client, &self.svm, &pattern).await?;
        let nodes = book.nodes(self, &policies).await?;
        let of = |policy: Policy| {
            let clients = policy.rules.iter().flat_map(|rule| &rule.clients);
            (policy.name, clients.filter_map(|client| nodes.get(&client.pattern).cloned()).collect())
        };
        Ok(policies.into_iter().map(of).collect())
    }

    async fn use_policy(&self, volume: &str, policy: &str) -> crate::client::Result<()> {
        let nas = Nas { export_policy: Some(Named::new(policy)), ..Nas::default() };
        volumes::change(&self.client, volume, &Change { nas: Some(nas), ..Change::default() }).await
    }

    fn server(&self) -> Result<String> {
        match (&self.config.data_address, self.data_addresses.first()) {
            (Some(address), _) => Ok(address.trim_matches(['[', ']']).to_owned()),
            (None, Some(address)) => Ok(address.to_string()),
            (None, None) => {
                let message = format!("SVM `{}` has no interface for NFS that is up", self.svm);
                Err(DriverError::new(ErrorKind::Unreachable, PERMIT, message))
            }
        }
    }

    fn addresses(&self, permit: &Permit) -> Result<Vec<String>> {
        let node = &permit.node;
        if node.addresses.is_empty() {
            return Err(lacking(
                &node.name,
                "address",
                "start its leister again, so that it tells its addresses",
            ));
        }
        let admitted = node.addresses.iter().filter(|address| self.config.exports.admit(**address));
        let admitted: Vec<String> = admitted.map(ToString::to_string).collect();
        if admitted.is_empty() {
            return Err(lacking(&node.name, "address within autoExportCIDRs", "widen them"));
        }
        Ok(admitted)
    }
}
