//! The one way from an edit to the store and, once it is durable there, to the catalogue.

mod codec;
mod follow;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use store::{Fence, Lease, Store, StoreError, Write};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::catalogue::{Catalogue, Edit};
use crate::leadership::{Role, Trouble};
use crate::{Error, ErrorKind, Result};
use codec::{KINDS, decode, encode, key, removal};

#[derive(Debug)]
pub(crate) struct Writer {
    store: Arc<dyn Store>,
    holder: String,
    /// Whether it may be the one who leads, where the store can be shared.
    may_lead: bool,
    catalogue: ArcSwap<Catalogue>,
    /// Who may change the catalogue: the one who leads by its commits, the others by what the store tells.
    role: watch::Sender<Role>,
    /// The revision that the catalogue shows at least.
    seen: watch::Sender<u64>,
}

/// What came of a renewal.
#[derive(Debug)]
pub(crate) enum Renewal {
    Kept,
    /// Not yet, and there is time left to try again.
    Late(String),
    Lost(String),
}

/// We hold a lease for so much less than the store does: clocks differ, and a call that has begun takes its time.
const MARGIN: Duration = Duration::from_secs(1);

impl Writer {
    /// Reads everything; becomes the writer, or follows the one who is where the store can be shared. One that may not lead
    /// follows in any case.
    ///
    /// # Errors
    /// The store is held by somebody else and cannot be shared, or cannot be read.
    pub(crate) async fn open(store: Arc<dyn Store>, holder: String, may_lead: bool) -> Result<Writer> {
        let writer = Writer {
            store,
            holder,
            may_lead,
            catalogue: ArcSwap::default(),
            role: watch::Sender::new(Role::Follows { leader: None, trouble: None }),
            seen: watch::Sender::new(0),
        };
        match writer.acquire().await {
            Err(StoreError::Held { .. }) if writer.is_shared() => writer.read_all().await?,
            Err(error) => return Err(error.into()),
            Ok(lease) => writer.lead(lease).await?,
        }
        Ok(writer)
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(crate) fn holder(&self) -> &str {
        &self.holder
    }

    /// Whether other processes have the same records.
    pub(crate) fn is_shared(&self) -> bool {
        self.store.post().is_some()
    }

    pub(crate) fn role(&self) -> Role {
        self.role.borrow().clone()
    }

    pub(crate) fn roles(&self) -> watch::Receiver<Role> {
        self.role.subscribe()
    }

    /// Asks for the lease; with it, [`lead`](Writer::lead). Who may not lead only looks who does.
    ///
    /// # Errors
    /// `Held` names who has it, which the role then shows.
    pub(crate) async fn acquire(&self) -> Result<(Lease, Instant), StoreError> {
        if let Some(post) = self.store.post().filter(|_| !self.may_lead) {
            let leader = post.leader().await?;
            self.follows(leader.clone(), None);
            return Err(StoreError::Held { holder: leader.unwrap_or_default() });
        }
        let asked = Instant::now();
        match self.store.acquire(&self.holder).await {
            Ok(lease) => Ok((lease, asked)),
            Err(error) => {
                if let StoreError::Held { holder } = &error {
                    self.follows(Some(holder.clone()), None);
                }
                Err(error)
            }
        }
    }

    /// Reads everything under the lease, then leads.
    pub(crate) async fn lead(&self, (lease, asked): (Lease, Instant)) -> Result<()> {
        let (catalogue, latest) = match self.load().await {
            Ok(loaded) => loaded,
            Err(error) => {
                self.give_up(&lease).await;
                return Err(error);
            }
        };
        let until = lease.expires_in.map(|lasts| asked + lasts.saturating_sub(MARGIN));
        self.seen.send_replace(latest);
        self.role.send_modify(|role| {
            self.catalogue.store(Arc::new(catalogue));
            *role = Role::Leads { lease, until };
        });
        Ok(())
    }

    /// Changes nothing any more.
    pub(crate) fn step_down(&self) {
        self.role.send_if_modified(|role| match role {
            Role::Leads { .. } => {
                *role = Role::Follows { leader: None, trouble: None };
                true
            }
            Role::Follows { .. } => false,
        });
    }

    /// The latest that the catalogue shows.
    pub(crate) fn revision(&self) -> u64 {
        *self.seen.borrow()
    }

    /// Says who leads and what is wrong, unless this instance leads itself.
    pub(crate) fn follows(&self, leads: Option<String>, wrong: Option<Trouble>) {
        self.role.send_if_modified(|role| match role {
            Role::Follows { leader, trouble } if *leader != leads || *trouble != wrong => {
                *leader = leads;
                *trouble = wrong;
                true
            }
            Role::Follows { .. } | Role::Leads { .. } => false,
        });
    }

    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.load_full()
    }

    /// Writes edits durably, all or none, then shows them.
    ///
    /// # Errors
    /// After an error nothing is shown that the store does not have: a record somebody else wrote is read
    /// again, so that the next try starts from what is true.
    pub(crate) async fn commit(&self, edits: Vec<Edit>) -> Result<()> {
        self.write(edits, true).await
    }

    /// The same without waiting for the disk: for what the backend shows again after a loss of power.
    pub(crate) async fn commit_ordered(&self, edits: Vec<Edit>) -> Result<()> {
        self.write(edits, false).await
    }

    async fn write(&self, edits: Vec<Edit>, durable: bool) -> Result<()> {
        let fence = self.fence()?;
        let seen = self.catalogue.load();
        let writes = edits
            .iter()
            .map(|edit| Ok(Write { key: key(edit), expected: seen.revision(edit), value: encode(edit)? }));
        let writes = writes.collect::<Result<Vec<_>>>()?;
        drop(seen);
        let written = if durable {
            self.store.commit(fence, writes).await
        } else {
            self.store.commit_ordered(fence, writes).await
        };
        match written {
            Ok(revision) => {
                self.show(fence, |next| {
                    for edit in &edits {
                        next.apply(edit, revision);
                    }
                });
                self.seen.send_if_modified(|seen| {
                    let is_new = revision.0 > *seen;
                    *seen = revision.0.max(*seen);
                    is_new
                });
                Ok(())
            }
            Err(error) => {
                match &error {
                    StoreError::Fenced { .. } => {
                        tracing::warn!(%error, "a change was refused: another instance leads");
                        self.step_down_from(fence);
                    }
                    StoreError::Conflict { .. } | StoreError::Unavailable { .. } => {
                        self.read_again(fence, &edits).await
                    }
                    StoreError::Held { .. }
                    | StoreError::Damaged { .. }
                    | StoreError::Denied { .. }
                    | StoreError::TooLarge { .. } => {}
                }
                Err(error.into())
            }
        }
    }

    /// Keeps the lease.
    pub(crate) async fn renew(&self) -> Renewal {
        let Role::Leads { lease, until } = self.role() else {
            return Renewal::Lost("its lease was lost".to_owned());
        };
        let asked = Instant::now();
        let renewal = self.store.renew(&lease);
        let renewed = match until {
            Some(until) => tokio::time::timeout_at(until, renewal).await,
            None => Ok(renewal.await),
        };
        let problem = match renewed {
            Ok(Ok(())) => {
                let lasts = lease.expires_in.map(|lasts| asked + lasts.saturating_sub(MARGIN));
                self.role.send_if_modified(|role| {
                    if let Role::Leads { lease: now, until } = role
                        && now.fence == lease.fence
                    {
                        *until = lasts;
                    }
                    false
                });
                return Renewal::Kept;
            }
            Ok(Err(error @ StoreError::Fenced { .. })) => return Renewal::Lost(error.to_string()),
            Ok(Err(error)) => Error::from(error).sentence(),
            Err(_) => "the store did not answer".to_owned(),
        };
        if self.leads() { Renewal::Late(problem) } else { Renewal::Lost(problem) }
    }

    pub(crate) async fn release(&self) {
        if let Role::Leads { lease, .. } = self.role() {
            self.give_up(&lease).await;
        }
    }

    async fn give_up(&self, lease: &Lease) {
        if let Err(error) = self.store.release(lease).await {
            tracing::warn!(%error, "cannot release the lease");
        }
    }

    /// Whether this instance may change anything: its lease holds, by its own clock.
    pub(crate) fn leads(&self) -> bool {
        self.role.borrow().fence().is_some()
    }

    /// The right to change, asked for before each step.
    ///
    /// # Errors
    /// Another instance leads, or the lease has run out.
    pub(crate) fn fence(&self) -> Result<Fence> {
        self.role.borrow().fence().ok_or_else(|| self.lost())
    }

    pub(crate) fn lost(&self) -> Error {
        if self.is_shared() {
            let message = "this instance does not lead any more; what it was doing another one goes on with";
            return Error::new(ErrorKind::Unreachable, message).hint("look at it, and ask again");
        }
        Error::new(ErrorKind::Unreachable, "another instance has become the writer of the store")
            .hint("ask that instance, or restart this one to take over")
    }

    /// Unless it has been given another one since.
    fn step_down_from(&self, fence: Fence) {
        self.role.send_if_modified(|role| match role {
            Role::Leads { lease, .. } if lease.fence == fence => {
                *role = Role::Follows { leader: None, trouble: None };
                true
            }
            Role::Leads { .. } | Role::Follows { .. } => false,
        });
    }

    /// Changes the catalogue, if what the lease was taken for still lasts: else the store tells what is true.
    fn show(&self, fence: Fence, change: impl Fn(&mut Catalogue)) {
        let role = self.role.borrow();
        if matches!(&*role, Role::Leads { lease, .. } if lease.fence == fence) {
            self.catalogue.rcu(|now| {
                let mut next = Catalogue::clone(now);
                change(&mut next);
                next
            });
        }
    }

    /// All records, and the highest revision among them.
    async fn load(&self) -> Result<(Catalogue, u64)> {
        let mut catalogue = Catalogue::default();
        let mut latest = 0;
        for kind in KINDS {
            for entry in self.store.list(kind).await? {
                let edit = decode(&entry)?;
                catalogue.apply(&edit, entry.revision);
                latest = latest.max(entry.revision.0);
            }
        }
        Ok((catalogue, latest))
    }

    async fn read_again(&self, fence: Fence, edits: &[Edit]) {
        for edit in edits {
            let key = key(edit);
            let found = match self.store.find(&key).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(%error, %key, "cannot read a record again");
                    continue;
                }
            };
            let truth = match &found {
                Some(entry) => match decode(entry) {
                    Ok(edit) => (edit, entry.revision),
                    Err(error) => {
                        tracing::error!(error = error.sentence(), %key, "a record cannot be read");
                        continue;
                    }
                },
                None => (removal(edit), store::Revision(0)),
            };
            self.show(fence, |next| next.apply(&truth.0, truth.1));
        }
    }
}
