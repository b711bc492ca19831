//! `memctl doctor`: looks at all that stands between a person and the hosts: configuration,
//! certificates, ssh, the way there, roles, versions, clocks, and what the agents say of themselves.
//! Ends with 1 where something does not work.

use std::time::Duration;

use agentd_proto::v1;
use clap::Args;
use jiff::Timestamp;
use tokio::time::Instant;

use super::{Ended, config};
use crate::address::Address;
use crate::client::Connection;
use crate::dto::{Item, Status, WhoAmI};
use crate::exit::Exit;
use crate::failure::{Code, Failure};
use crate::fleet::{ask_every, ask_one};
use crate::hosts::Host;
use crate::identity::Identity;
use crate::render::check::{CheckBody, Finding};
use crate::render::text::safe;
use crate::session::Session;
use crate::versions::{OURS, Skew};

/// Options of `memctl doctor`.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {}

/// Looks at everything, and shows what was found.
pub(crate) async fn run(_: &DoctorArgs, session: &mut Session) -> Ended {
    let nobody = |check: CheckBody| Item::answered("-", check);
    let mut items: Vec<_> = config::checks(session).into_iter().map(nobody).collect();
    match session.hosts() {
        Ok(hosts) => {
            let bounds = session.bounds();
            let answers = ask_every(&hosts, bounds, move |host| async move {
                Ok(examine(&host, bounds.timeout).await)
            });
            items.extend(Item::of_answers(answers.await, |checks| checks));
        }
        Err(failure) => items.push(nobody(CheckBody::bad("hosts", &failure))),
    }
    session.output.show(&mut items)?;
    let bodies = || items.iter().filter_map(|item| item.body.as_ref());
    let count = |finding| bodies().filter(|body| body.finding == finding).count();
    let (bad, warnings) = (count(Finding::Bad), count(Finding::Warning));
    if !session.output.is_for_programs() {
        let all = bodies().count();
        session.output.notice(&format!("{all} checks: {bad} bad, {warnings} with a warning"))?;
    }
    Ok(if bad > 0 { Exit::No } else { Exit::Done })
}

/// Everything between us and one host, in the order of the way there.
async fn examine(host: &Host, timeout: Duration) -> Vec<CheckBody> {
    let mut checks = Vec::new();
    if let Address::Https { .. } = host.address {
        checks.extend(certificate(host));
    }
    if let Address::Ssh(_) = host.address {
        checks.push(ssh().await);
    }
    if checks.iter().any(|check| check.finding == Finding::Bad) {
        // It would fail for the same reason, and say the same.
        return checks;
    }
    let started = Instant::now();
    match ask_one(host, timeout, ask).await {
        Ok((status, caller)) => {
            let took = started.elapsed().as_millis();
            checks.push(CheckBody::good("reach", format!("{} in {took} ms", host.address)));
            checks.extend(caller.map(|caller| role(&caller)));
            checks.push(version(&status));
            checks.extend(clock(&status));
            checks.extend(agent(&status));
        }
        Err(failure) => checks.push(CheckBody::bad("reach", &failure)),
    }
    checks
}

async fn ask(connection: Connection) -> Result<(Status, Option<WhoAmI>), Failure> {
    let status = connection.hosts().get_status(v1::GetStatusRequest {}).await;
    let status = status.map_err(|status| Failure::from_status(&status))?.into_inner();
    let status = Status::new(status, Timestamp::now());
    match connection.hosts().who_am_i(v1::WhoAmIRequest {}).await {
        Ok(caller) => Ok((status, Some(caller.into_inner().into()))),
        // An older agent does not know the question.
        Err(refused) if refused.code() == tonic::Code::Unimplemented => Ok((status, None)),
        Err(refused) => Err(Failure::from_status(&refused)),
    }
}

fn certificate(host: &Host) -> Vec<CheckBody> {
    let provider = rustls::crypto::ring::default_provider();
    match Identity::load(&host.identity, &provider, Timestamp::now()) {
        Err(failure) => vec![CheckBody::bad("certificate", &failure)],
        Ok(identity) if identity.warnings.is_empty() => {
            let end = identity.facts.not_after.strftime("%Y-%m-%d");
            let told = format!("{} is valid until {end}", identity.cert.display());
            vec![CheckBody::good("certificate", told)]
        }
        Ok(identity) => {
            identity.warnings.iter().map(|w| CheckBody::warning("certificate", &**w, "")).collect()
        }
    }
}

async fn ssh() -> CheckBody {
    let run = tokio::process::Command::new("ssh").arg("-V").output().await;
    match run {
        // ssh tells its version as an error.
        Ok(said) if said.status.success() => {
            let said = String::from_utf8_lossy(&said.stderr);
            CheckBody::good("ssh", safe(said.lines().next().unwrap_or_default()))
        }
        Ok(said) => CheckBody::bad(
            "ssh",
            &Failure::new(
                Code::Unavailable,
                "SSH_FAILED",
                format!("ssh -V ended with {}", said.status),
            ),
        ),
        Err(error) => CheckBody::bad(
            "ssh",
            &Failure::new(Code::Unavailable, "SSH_MISSING", format!("ssh cannot be run: {error}"))
                .hint("install it (apt install openssh-client), or reach the host by https://"),
        ),
    }
}

fn role(caller: &WhoAmI) -> CheckBody {
    let by = caller.role_from.as_deref().unwrap_or("nothing");
    match &caller.role {
        Some(role) => CheckBody::good("role", format!("{} is {role} by {by}", caller.identity)),
        None => CheckBody::bad(
            "role",
            &Failure::new(
                Code::PermissionDenied,
                "NO_ROLE",
                format!("{} has no role there", caller.identity),
            )
            .hint("root of the host gives one in [authz] of agentd.toml, or memctl ca issue-client --role"),
        ),
    }
}

fn version(status: &Status) -> CheckBody {
    let theirs = status.agent_version.as_str();
    let told = format!("agentd {theirs}, memctl {OURS}");
    match Skew::of(theirs).meaning(theirs) {
        None => CheckBody::good("version", told),
        Some(hint) => CheckBody::warning("version", told, &hint),
    }
}

fn clock(status: &Status) -> Option<CheckBody> {
    let skew = status.clock_skew_seconds?;
    let side = if skew < 0.0 { "behind" } else { "ahead" };
    let told = format!("the host's clock is {:.1} s {side}", skew.abs());
    Some(match skew.abs() > MOST_SKEW {
        true => CheckBody::warning(
            "clock",
            told,
            "set both clocks (timedatectl shows each): certificates and times are judged by them",
        ),
        false => CheckBody::good("clock", told),
    })
}

/// What the agent says of itself.
fn agent(status: &Status) -> Vec<CheckBody> {
    let late = status.last_tick_age_seconds.zip(status.tick_interval_seconds);
    let late = late.filter(|(age, interval)| *age > interval * LATE_TICKS + 1.0);
    let tick = match (late, status.tick) {
        (Some((age, interval)), _) => CheckBody::warning(
            "agent",
            format!("the last tick was {age:.0} s ago, and one is due every {interval} s"),
            "it hangs: journalctl -u agentd on the host tells where",
        ),
        (None, None) => CheckBody::warning("agent", "no tick yet: it is starting", ""),
        (None, Some(_)) => {
            let (mode, algorithm) = (&status.mode.0, &status.algorithm);
            CheckBody::good("agent", format!("ticks, mode {mode}, algorithm {algorithm}"))
        }
    };
    let told = status.conditions.iter().map(|condition| {
        let message = format!("{}: {}", condition.reason, condition.message);
        let hint = format!("\"{}\" in docs/OPERATING.md tells what to do", condition.reason);
        CheckBody::warning("condition", message, &hint)
    });
    std::iter::once(tick).chain(told).collect()
}

/// Beyond this, a certificate that is fresh here may be not valid yet there.
const MOST_SKEW: f64 = 5.0;
const LATE_TICKS: f64 = 3.0;
