//! Who does: of the instances that share a store one leads, the others follow and hand it what shall change.
//!
//! Only the one who leads talks to backends. It steps down by its own clock before its lease runs out; what it may
//! still have on the way to the store is refused there by its fencing number.

mod ask;
mod forward;
mod mail;

use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::Timestamp;
use store::{Fence, Lease, StoreError};
use tokio::time::Instant;

pub(crate) use ask::{Ask, Changed};
pub(crate) use forward::{Answers, Forwarded};

use crate::Error;
use crate::orchestrator::{Inner, Orchestrator};
use crate::writer::Renewal;

/// What this instance is to the records.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// `until` by our own clock; `None`: as long as the process lives.
    Leads {
        lease: Lease,
        until: Option<Instant>,
    },
    Follows {
        leader: Option<String>,
        trouble: Option<Trouble>,
    },
}

/// Why what is shown may be old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) since: Timestamp,
    pub(crate) problem: String,
}

/// Who leads, as people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// This instance.
    pub leads: bool,
    /// The node of the one who does, if it is known.
    pub leader: Option<String>,
    /// What is wrong: the records shown may be old, and nothing can be changed.
    pub trouble: Option<String>,
}

/// How often a lease without an end is looked after.
const SELDOM: Duration = Duration::from_secs(15);
/// How often who follows asks whether it could lead.
const SOON: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(200);

impl Role {
    /// The number to present with a change, while the lease holds.
    pub(crate) fn fence(&self) -> Option<Fence> {
        match self {
            Role::Leads { lease, until } if until.is_none_or(|until| Instant::now() < until) => {
                Some(lease.fence)
            }
            Role::Leads { .. } | Role::Follows { .. } => None,
        }
    }
}

/// Unlike that of any other process, and it names the node.
pub(crate) fn holder(node: &model::NodeName) -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{node}#{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// The node in a holder's name.
pub(crate) fn node_of(holder: &str) -> &str {
    holder.rsplit_once('#').map_or(holder, |(node, _)| node)
}

/// Leads and follows in turn, until the orchestrator has ended.
pub(crate) fn start(orchestrator: &Orchestrator) {
    let weak = Arc::downgrade(orchestrator.inner());
    let ended = orchestrator.inner().ended.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = ended.cancelled() => {}
            () = take_turns(&weak) => {}
        }
    });
}

async fn take_turns(weak: &Weak<Inner>) {
    loop {
        let Some(inner) = weak.upgrade() else { return };
        if inner.writer.leads() {
            let orchestrator = Orchestrator::of(inner.clone());
            orchestrator.open_backends();
            let serving = inner.writer.is_shared().then(|| tokio::spawn(mail::serve(orchestrator)));
            drop(inner);
            let reason = keep(weak).await;
            if let Some(serving) = serving {
                serving.abort();
            }
            let Some(inner) = weak.upgrade() else { return };
            // Its breaker, its pools and the locks on them go with it: whoever leads next opens them anew.
            tracing::warn!(reason, "this instance leads no more");
            inner.writer.step_down();
            if !inner.writer.is_shared() {
                return;
            }
            inner.backends.clear();
        } else if inner.writer.is_shared() {
            inner.writer.step_down();
            drop(inner);
            follow(weak).await;
        } else {
            return;
        }
    }
}

/// Renews the lease; ends when it is lost, with the reason.
async fn keep(weak: &Weak<Inner>) -> String {
    let mut pause = period(weak);
    let Some(mut roles) = weak.upgrade().map(|inner| inner.writer.roles()) else { return String::new() };
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            Ok(_) = roles.wait_for(|role| matches!(role, Role::Follows { .. })) => {
                return "a change of its was refused".to_owned();
            }
        }
        let Some(inner) = weak.upgrade() else { return String::new() };
        match inner.writer.renew().await {
            Renewal::Kept => pause = period(weak),
            Renewal::Late(problem) => {
                tracing::warn!(problem, "the lease is not renewed yet");
                pause = PAUSE;
            }
            Renewal::Lost(reason) => return reason,
        }
    }
}

/// A third of what the lease lasts.
fn period(weak: &Weak<Inner>) -> Duration {
    let role = weak.upgrade().map(|inner| inner.writer.role());
    match role {
        Some(Role::Leads { lease, .. }) => lease.expires_in.map_or(SELDOM, |lasts| lasts / 3),
        _ => PAUSE,
    }
}

/// Keeps the catalogue as the store is, until this instance leads.
async fn follow(weak: &Weak<Inner>) {
    loop {
        let Some(inner) = weak.upgrade() else { return };
        tokio::select! {
            problem = taken_up(&inner) => note(&inner, &problem),
            ended = seek(&inner) => match ended {
                Sought::Leads => return,
                // Whatever the watches may have missed is read now.
                Sought::IsBack => tracing::info!("the store answers again"),
            },
        }
        drop(inner);
        tokio::time::sleep(PAUSE).await;
    }
}

enum Sought {
    Leads,
    IsBack,
}

async fn taken_up(inner: &Inner) -> Error {
    match inner.writer.follow(|answer| inner.answers.deliver(answer)).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

/// Asks for the lease until it is ours, or until the store answers again.
async fn seek(inner: &Inner) -> Sought {
    loop {
        tokio::time::sleep(SOON).await;
        if inner.stopping.is_cancelled() {
            return std::future::pending().await;
        }
        let was_away = matches!(inner.writer.role(), Role::Follows { trouble: Some(_), .. });
        match inner.writer.acquire().await {
            Ok(lease) => match inner.writer.lead(lease).await {
                Ok(()) => {
                    tracing::info!("this instance leads");
                    return Sought::Leads;
                }
                Err(error) => note(inner, &error),
            },
            Err(StoreError::Held { .. }) if was_away => return Sought::IsBack,
            Err(StoreError::Held { .. }) => {}
            Err(error) => note(inner, &error.into()),
        }
    }
}

/// What is shown is old from now on.
fn note(inner: &Inner, error: &Error) {
    let problem = error.sentence();
    let Role::Follows { leader, trouble } = inner.writer.role() else { return };
    if trouble.is_none() {
        tracing::warn!(problem, "the records shown may be old, and nothing can be changed");
    }
    let since = trouble.map_or_else(Timestamp::now, |trouble| trouble.since);
    inner.writer.follows(leader, Some(Trouble { since, problem }));
}
