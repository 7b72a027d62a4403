//! What is done here, and what the instance that leads has to do.

use super::{Inner, Orchestrator};
use crate::Result;
use crate::leadership::{self, Ask, Forwarded, Leadership, Role};
use crate::request::Answer;
use crate::running::Operation;

impl Orchestrator {
    /// Who leads the instances that share the records; one that is alone leads itself.
    pub fn leadership(&self) -> Leadership {
        let away = |trouble: leadership::Trouble| {
            format!("the store does not answer since {:.0}: {}", trouble.since, trouble.problem)
        };
        if !self.inner.writer.is_shared() {
            return Leadership { leads: self.inner.writer.leads(), leader: None, trouble: None };
        }
        match self.inner.writer.role() {
            Role::Leads { lease, .. } => {
                let leads = self.inner.writer.leads();
                let leader = leads.then(|| leadership::node_of(&lease.holder).to_owned());
                Leadership { leads, leader, trouble: None }
            }
            Role::Follows { leader, trouble } => Leadership {
                leads: false,
                leader: leader.map(|holder| leadership::node_of(&holder).to_owned()),
                trouble: trouble.map(away),
            },
        }
    }

    /// Does it here if this instance leads, else has it done by the one who does.
    pub(crate) async fn led<T, F>(&self, ask: Ask, here: impl Fn() -> F) -> Result<T>
    where
        T: serde::de::DeserializeOwned,
        F: Future<Output = Result<T>>,
    {
        loop {
            if self.inner.writer.leads() || !self.inner.writer.is_shared() {
                return here().await;
            }
            if let Forwarded::Done(done) = self.inner.forward(&ask).await? {
                return Ok(done);
            }
        }
    }
}

impl Inner {
    /// Here while this instance leads, else through the one who does; also when that changes on the way.
    pub(super) async fn carry_out(&self, operation: &Operation) -> Result<Answer> {
        let request = &operation.request;
        loop {
            if self.writer.leads() || !self.writer.is_shared() {
                let performed = self.perform(operation).await;
                let goes_on = performed.is_err() && !self.writer.leads() && self.writer.is_shared();
                if !goes_on || !request.is_repeatable() || self.stopping.is_cancelled() {
                    return performed;
                }
                tracing::info!("the leader has changed; it is asked to go on");
            }
            operation.stage("waiting for the instance that leads");
            if let Forwarded::Done(answer) = self.forward(&Ask::Work(request.clone())).await? {
                return Ok(answer);
            }
        }
    }
}
