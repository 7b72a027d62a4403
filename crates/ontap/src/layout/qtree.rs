//! A qtree in a FlexVol that many share. A qtree has no room for a remark: the name of its export policy is its tag,
//! and it gets that last, so that what has it is whole. Its size is a quota rule.

use std::collections::HashMap;

use driver::{DriverError, ErrorKind, Result};
use model::{Handle, InstanceId, VolumeId};

use super::{Array, Found, GRANULARITY, Unit, Wanted};
use crate::client;
use crate::error::{ABSENT, EXISTS};
use crate::tag::{Holds, Tag};
use crate::wire::qtrees::{self, NewQtree, Qtree};
use crate::wire::{ByUuid, Named, exports, quotas};

/// Characters of an export policy's name.
const LONGEST_POLICY: usize = 256;

impl Array {
    /// The policy of the FlexVols around qtrees: it lets nodes through.
    pub(crate) fn doors(&self) -> String {
        format!("{}qtrees", self.config.prefix)
    }

    /// Qtrees of this name, or, with a `/`, the one `FLEXVOL/QTREE`.
    pub(super) async fn qtrees_called(&self, name: &str) -> client::Result<Vec<Found>> {
        let mut query = Vec::new();
        let base = match name.split_once('/') {
            Some((volume, base)) => {
                query.push(("volume.name", volume));
                base
            }
            None => name,
        };
        if base.is_empty() {
            return Ok(Vec::new());
        }
        query.push(("name", base));
        let qtrees = qtrees::list(&self.client, &self.svm, &query).await?;
        if qtrees.is_empty() {
            return Ok(Vec::new());
        }
        let rules = quotas::list(&self.client, &self.svm, &[("qtree.name", base)]).await?;
        self.whole(qtrees, rules).await
    }

    pub(super) async fn list_qtrees(&self) -> client::Result<Vec<Found>> {
        let pattern = format!("{}*{}*", self.config.prefix, mark(&self.instance));
        let qtrees = qtrees::list(&self.client, &self.svm, &[("export_policy.name", &pattern)]).await?;
        if qtrees.is_empty() {
            return Ok(Vec::new());
        }
        let named = format!("{}*", self.config.prefix);
        let rules = quotas::list(&self.client, &self.svm, &[("qtree.name", &named)]).await?;
        let mut all = self.whole(qtrees, rules).await?;
        all.retain(|found| found.handle.as_str().starts_with(&self.config.prefix) && self.is_ours(found));
        Ok(all)
    }

    async fn whole(&self, qtrees: Vec<Qtree>, rules: Vec<quotas::Rule>) -> client::Result<Vec<Found>> {
        let shelves = self.shelves_of(qtrees.iter().map(|qtree| qtree.volume.uuid.clone()).collect()).await?;
        let key = |volume: &str, qtree: &str| (volume.to_owned(), qtree.to_owned());
        let mut rules: HashMap<_, _> =
            rules.into_iter().map(|rule| (key(&rule.volume.uuid, rule.qtree()), rule)).collect();
        let found = |mut qtree: Qtree| {
            qtree.rule = rules.remove(&key(&qtree.volume.uuid, &qtree.name));
            Some(Found {
                handle: Handle::new(&qtree.name).ok()?,
                tag: qtree.policy().and_then(|policy| tag(&qtree.name, policy)),
                volume: shelves.get(&qtree.volume.uuid)?.clone(),
                unit: Unit::Qtree(qtree),
            })
        };
        Ok(qtrees.into_iter().filter_map(found).collect())
    }

    /// Whether it is one of ours whose making was interrupted: nobody ever had it.
    pub(crate) fn is_unmade_qtree(&self, found: &Found) -> bool {
        let Unit::Qtree(qtree) = &found.unit else { return false };
        qtree.policy() == Some(&self.empty_policy()) && self.is_on_shelf(found)
    }

    /// Whether its FlexVol is one that we made for qtrees.
    fn is_on_shelf(&self, found: &Found) -> bool {
        let shelf = Tag::read(found.volume.comment.as_deref());
        shelf.is_some_and(|tag| tag.instance == self.instance && tag.holds == Some(Holds::Qtrees))
    }

    pub(crate) async fn make_qtree(&self, wanted: &Wanted<'_>, operation: &'static str) -> Result<()> {
        let choices = self.choices(wanted.spec, operation)?;
        let fail = self.error(operation);
        let policy = policy(wanted.handle, &self.instance, wanted.id);
        if policy.len() > LONGEST_POLICY {
            let message = format!(
                "the names `{}` and `{}` together are too long for an export policy of {LONGEST_POLICY} characters; \
                 use shorter ones",
                self.instance, wanted.id
            );
            return Err(DriverError::new(ErrorKind::Invalid, operation, message));
        }
        let made = {
            let _turn = self.turn().await;
            let loads = self.loads().await.map_err(&fail)?;
            let volume = self.room(wanted, &choices, &loads, operation).await?;
            let qtree = NewQtree {
                name: wanted.handle.to_string(),
                svm: Named::new(&self.svm),
                volume: ByUuid::new(&volume.uuid),
                export_policy: Named::new(self.empty_policy()),
                security_style: choices.security_style,
                unix_permissions: super::volume::decimal(choices.unix_permissions.unwrap_or(0o777)),
                qos_policy: choices.qos_policy.as_deref().map(Named::new),
            };
            qtrees::create(&self.client, &qtree).await.map_err(&fail)?;
            let limit = limit(wanted.spec.size);
            quotas::create(&self.client, &self.svm, &volume.uuid, &qtree.name, limit).await.map_err(&fail)?;
            volume
        };
        self.refuse_twin(wanted.handle, &made.uuid, operation).await?;
        let found = self.find_shared(wanted.handle.as_str()).await.map_err(&fail)?;
        match found {
            Some(found) => self.complete_qtree(wanted, &found, operation).await,
            None => {
                let message = format!("`{}` vanished while it was being made", wanted.handle);
                Err(DriverError::new(ErrorKind::Busy, operation, message))
            }
        }
    }

    /// Gives a qtree what it lacks: its size, and its tag at last.
    pub(crate) async fn complete_qtree(
        &self,
        wanted: &Wanted<'_>,
        found: &Found,
        operation: &'static str,
    ) -> Result<()> {
        let Unit::Qtree(qtree) = &found.unit else { return Ok(()) };
        let (client, fail) = (&self.client, self.error(operation));
        let limit = limit(wanted.spec.size);
        match &qtree.rule {
            None => {
                let made = quotas::create(client, &self.svm, &qtree.volume.uuid, &qtree.name, limit).await;
                made.map_err(&fail)?;
            }
            Some(rule) if i64::try_from(rule.limit()) != Ok(limit) => {
                quotas::set(client, &rule.uuid, limit).await.map_err(&fail)?;
            }
            Some(_) => {}
        }
        self.tag_qtree(qtree, wanted.handle, wanted.id, operation).await
    }

    /// Gives a qtree our name and our tag: a policy without rules.
    pub(crate) async fn tag_qtree(
        &self,
        qtree: &Qtree,
        handle: &Handle,
        id: &VolumeId,
        operation: &'static str,
    ) -> Result<()> {
        let (client, fail) = (&self.client, self.error(operation));
        let policy = policy(handle, &self.instance, id);
        match exports::create(client, &self.svm, &policy, &[]).await {
            Ok(()) => {}
            Err(error) if error.is(EXISTS) => {
                // Left by a volume that is gone: whom it let in must not get this one.
                let left = exports::find(client, &self.svm, &policy).await.map_err(&fail)?;
                if let Some(left) = left {
                    for rule in left.rules.iter().rev() {
                        exports::delete_rule(client, left.id, rule.index).await.map_err(&fail)?;
                    }
                }
            }
            Err(error) => return Err(fail(error)),
        }
        let name = (qtree.name != handle.as_str()).then(|| handle.to_string());
        qtrees::change(client, qtree, name, &policy).await.map_err(fail)
    }

    pub(crate) async fn grow_qtree(&self, qtree: &Qtree, size: model::Bytes) -> client::Result<()> {
        match &qtree.rule {
            Some(rule) => quotas::set(&self.client, &rule.uuid, limit(size)).await,
            None => {
                quotas::create(&self.client, &self.svm, &qtree.volume.uuid, &qtree.name, limit(size)).await
            }
        }
    }

    /// The qtree with all that is in it, its quota rule with it, and its policy.
    ///
    /// # Behavior
    /// The qtree goes last: whatever interrupts this, the repeat still finds it. One that was imported would be
    /// nobody's without its policy, and goes first.
    pub(crate) async fn delete_qtree(&self, found: &Found, qtree: &Qtree) -> client::Result<()> {
        let goes_last = self.is_on_shelf(found);
        if goes_last && !self.is_unmade_qtree(found) {
            qtrees::change(&self.client, qtree, None, &self.empty_policy()).await?;
        }
        if !goes_last {
            self.remove_qtree(qtree).await?;
        }
        let pattern = format!("{}{}*", found.handle, mark(&self.instance));
        match exports::delete(&self.client, &self.svm, &pattern).await {
            Err(error) if !error.is(ABSENT) => return Err(error),
            _ => {}
        }
        if goes_last { self.remove_qtree(qtree).await } else { Ok(()) }
    }

    async fn remove_qtree(&self, qtree: &Qtree) -> client::Result<()> {
        match qtrees::delete(&self.client, qtree).await {
            Err(error) if !error.is(ABSENT) => Err(error),
            _ => Ok(()),
        }
    }
}

fn limit(size: model::Bytes) -> i64 {
    i64::try_from(size.round_up(GRANULARITY).get()).unwrap_or(i64::MAX)
}

/// `<handle>.<length>.<instance>.<volume>`: handles hold no dot, and the length says where the instance ends.
fn policy(handle: &Handle, instance: &InstanceId, volume: &VolumeId) -> String {
    format!("{handle}{}{volume}", mark(instance))
}

fn mark(instance: &InstanceId) -> String {
    format!(".{}.{instance}.", instance.as_str().len())
}

fn tag(name: &str, policy: &str) -> Option<Tag> {
    let (length, rest) = policy.strip_prefix(name)?.strip_prefix('.')?.split_once('.')?;
    let (instance, rest) = rest.split_at_checked(length.parse().ok()?)?;
    Some(Tag {
        instance: InstanceId::new(instance).ok()?,
        volume: VolumeId::new(rest.strip_prefix('.')?).ok()?,
        holds: Some(Holds::Qtree),
        pool: None,
        staged: false,
        imported: None,
        terms: None,
        spec: None,
        filesystem: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policys_name_says_whose_the_qtree_is() {
        for (instance, volume) in [("ours", "v"), ("a.b.c", "1.x-y_z"), ("i", "4.over.there")] {
            let handle = Handle::new("leister_v").unwrap();
            let (instance, volume) = (InstanceId::new(instance).unwrap(), VolumeId::new(volume).unwrap());
            let seen = tag(handle.as_str(), &policy(&handle, &instance, &volume)).unwrap();
            assert_eq!((seen.instance, seen.volume), (instance, volume));
        }
        for nobodys in ["default", "leister_v", "leister_v.9.ours.v", "leister_v.x.y", "other.4.ours.v"] {
            assert_eq!(tag("leister_v", nobodys), None, "{nobodys}");
        }
    }
}
