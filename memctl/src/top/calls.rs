//! Calls of agents on the person's behalf: made beside the screen, a few at a time.

use std::time::Duration;

use agentd_proto::v1;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::Connection;
use crate::commands::mode::WantedMode;
use crate::commands::policy::assignment;
use crate::dto::{Explanation, VmName};
use crate::failure::Failure;
use crate::fleet::ask_one;
use crate::hosts::Host;
use crate::policy_keys::{Key, VmField};
use crate::render::text::safe;

/// Something to ask of an agent; hosts by their number.
#[derive(Clone, Debug)]
pub(super) enum Call {
    /// Why a VM got what it got.
    Explain { host: usize, vm: VmName },
    /// Another mode.
    Mode { host: usize, mode: WantedMode },
    /// Have the policy pin a VM, by its name or UUID, or unpin it.
    Pin { host: usize, vm: String, pinned: bool },
    /// End what pins a VM for a while.
    Unpin { host: usize, vm: VmName },
}

/// What came of a call.
#[derive(Debug)]
pub(super) enum Answer {
    /// Of [`Call::Explain`].
    Explained { host: String, title: String, result: Result<Box<Explanation>, Failure> },
    /// Of the others: what was asked for, and whether it was done.
    Done { what: String, result: Result<(), Failure> },
}

/// Makes calls.
#[derive(Debug)]
pub(super) struct Calls {
    hosts: Vec<Host>,
    timeout: Duration,
    under_way: JoinSet<()>,
    answers: mpsc::Sender<Answer>,
}

impl Calls {
    /// With the place where answers come from.
    pub(super) fn new(hosts: Vec<Host>, timeout: Duration) -> (Self, mpsc::Receiver<Answer>) {
        let (answers, receiver) = mpsc::channel(AT_ONCE);
        (Self { hosts, timeout, under_way: JoinSet::new(), answers }, receiver)
    }

    /// Makes a call, and says so.
    pub(super) fn make(&mut self, call: Call) -> String {
        while self.under_way.try_join_next().is_some() {}
        if self.under_way.len() >= AT_ONCE {
            return format!("{AT_ONCE} calls wait for their answers: try again in a moment");
        }
        let number = match &call {
            Call::Explain { host, .. } | Call::Mode { host, .. } => *host,
            Call::Pin { host, .. } | Call::Unpin { host, .. } => *host,
        };
        let Some(host) = self.hosts.get(number).cloned() else { return String::new() };
        let asked = format!("asking {} ...", safe(&host.name));
        let (timeout, answers) = (self.timeout, self.answers.clone());
        self.under_way.spawn(async move {
            // Nobody listens any more only at the end.
            let _ = answers.send(answer(&host, call, timeout).await).await;
        });
        asked
    }
}

async fn answer(host: &Host, call: Call, timeout: Duration) -> Answer {
    match call {
        Call::Explain { vm, .. } => {
            let title = format!("{} on {}", safe(vm.label()), safe(&host.name));
            let uuid = if vm.uuid.is_empty() { vm.name } else { vm.uuid };
            let result = ask_one(host, timeout, |connection| explain(connection, uuid)).await;
            Answer::Explained { host: host.name.clone(), title, result: result.map(Box::new) }
        }
        Call::Mode { mode, .. } => Answer::Done {
            what: format!("{}: mode {}", safe(&host.name), mode.word()),
            result: ask_one(host, timeout, |connection| set_mode(connection, mode)).await,
        },
        Call::Pin { vm, pinned, .. } => {
            let verb = if pinned { "pin" } else { "unpin" };
            Answer::Done {
                what: format!("{}: {verb} {}", safe(&host.name), safe(&vm)),
                result: ask_one(host, timeout, |connection| pin(connection, vm, pinned)).await,
            }
        }
        Call::Unpin { vm, .. } => Answer::Done {
            what: format!("{}: unpin {}", safe(&host.name), safe(vm.label())),
            result: ask_one(host, timeout, |connection| unpin(connection, vm.uuid)).await,
        },
    }
}

async fn explain(connection: Connection, vm: String) -> Result<Explanation, Failure> {
    let request = v1::ExplainVmRequest { vm, ..Default::default() };
    let answer = connection.vms().explain_vm(request).await;
    Ok(answer.map_err(|status| Failure::from_status(&status))?.into_inner().into())
}

async fn set_mode(connection: Connection, mode: WantedMode) -> Result<(), Failure> {
    let request = v1::SetModeRequest { mode: mode.wire().into(), reason: REASON.to_owned() };
    let answer = connection.hosts().set_mode(request).await;
    answer.map(|_| ()).map_err(|status| Failure::from_status(&status))
}

async fn pin(connection: Connection, vm: String, pinned: bool) -> Result<(), Failure> {
    let value = if pinned { "true" } else { "unset" };
    let (policy, mask) = assignment(&Key::Vm(vm, VmField::Pinned), value)?;
    let request = v1::UpdatePolicyRequest {
        policy: Some(policy),
        update_mask: Some(mask),
        reason: REASON.to_owned(),
        ..v1::UpdatePolicyRequest::default()
    };
    let answer = connection.policies().update_policy(request).await;
    answer.map(|_| ()).map_err(|status| Failure::from_status(&status))
}

async fn unpin(connection: Connection, vm: String) -> Result<(), Failure> {
    let request = v1::UnpinVmRequest { vm, reason: REASON.to_owned(), validate_only: false };
    let answer = connection.policies().unpin_vm(request).await;
    answer.map(|_| ()).map_err(|status| Failure::from_status(&status))
}

/// Calls that wait for their answers at the same time.
const AT_ONCE: usize = 8;
/// Why, for the log.
const REASON: &str = "memctl top";
