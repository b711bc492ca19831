//! `memctl reserve`, `reservations` and `release`: memory that is kept together for a VM that is about
//! to start or arrive.

use std::{sync::Arc, time::Duration};

use agentd_proto::v1;
use clap::Args;
use clap_complete::ArgValueCompleter;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Ended, consent, exit_of};
use crate::client::Connection;
use crate::completers;
use crate::dto::{Item, Reservation};
use crate::exit::Exit;
use crate::failure::{Code, Failure};
use crate::fleet::{ask_all, ask_one};
use crate::hosts::Host;
use crate::progress::Progress;
use crate::quantity::{
    Units, format_apart, format_seconds, format_time, parse_positive_duration, parse_size,
};
use crate::render::reservation::{ReservationBody, refusals};
use crate::session::Session;
use crate::stop_signals::StopSignals;

/// Options of `memctl reserve`.
#[derive(Args, Debug)]
pub(crate) struct ReserveArgs {
    /// How much: a size like 8GiB, or MIN..MAX: it is there once MIN is, and takes up to MAX of what
    /// no VM needs.
    #[arg(value_name = "SIZE|MIN..MAX", value_parser = parse_range)]
    size: (u64, u64),
    /// For how long, from 10s to 24h.
    #[arg(long = "for", value_name = "TIME", default_value = "10m")]
    #[arg(value_parser = parse_positive_duration)]
    lasting: Duration,
    /// The VM that it is for, by name or UUID. Without it the first VM that starts once the memory is
    /// there gets it.
    #[arg(long, value_name = "VM", value_parser = parse_vm)]
    vm: Option<String>,
    /// Why, for the log and for other operators.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Do not wait until the memory is there.
    #[arg(long, conflicts_with = "wait_for")]
    no_wait: bool,
    /// How long to wait for it. What is not there by then goes on being gathered.
    #[arg(long, value_name = "TIME", default_value = "1m")]
    #[arg(value_parser = parse_positive_duration)]
    wait_for: Duration,
    /// Names this request: said again, it makes no second reservation.
    #[arg(long, value_name = "ID", default_value = "")]
    request_id: String,
    /// Check whether it can be, make nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Options of `memctl reservations`.
#[derive(Args, Debug)]
pub(crate) struct ReservationsArgs {}

/// Options of `memctl release`.
#[derive(Args, Debug)]
pub(crate) struct ReleaseArgs {
    /// Number of the reservation, as `memctl reservations` lists it; HOST/ID, as -o name prints it for
    /// several hosts, says whose.
    #[arg(value_parser = Numbered::parse)]
    #[arg(add = ArgValueCompleter::new(completers::reservation_ids))]
    id: Numbered,
    /// Why, for the log and for other operators.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Reserves memory on every host, and waits until it is there.
pub(crate) async fn run(args: &ReserveArgs, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    let request = request(args)?;
    if !args.dry_run {
        consent::ask("", hosts.len(), session)?;
    }
    let make = move |connection| create(connection, request.clone());
    let answers = ask_all(&hosts, session.bounds(), make).await;
    // Only one that is made has a number; what a dry run names may be made already.
    let body = |reservation: Reservation| {
        vec![ReservationBody { applied: !args.dry_run || reservation.id != 0, reservation }]
    };
    let mut items = Item::of_answers(answers, body);
    let over = over(&items);
    let waits = !args.no_wait && !args.dry_run;
    let mut missed = Vec::new();
    if waits {
        let mut stop = StopSignals::listen()?;
        let stopped = tokio::select! {
            biased;
            exit = stop.next() => Some(exit),
            waited = wait(&hosts, &mut items, args.wait_for, session) => {
                missed = waited?;
                None
            }
        };
        if let Some(exit) = stopped {
            session.output.show(&mut items)?;
            tell_left(&items, session)?;
            return Ok(exit);
        }
    }
    session.output.show(&mut items)?;
    tell_missed(&missed, session)?;
    tell_each(&over, session)?;
    if args.dry_run {
        tell_dry(&items, session)?;
    } else {
        tell_missing(&items, waits, session)?;
    }
    let missing = items.iter().filter_map(|item| item.body.as_ref());
    let is_missing = missing.into_iter().any(|body| !body.reservation.is_there());
    let exit = exit_of(&items);
    Ok(if exit == Exit::Done && waits && is_missing { Exit::No } else { exit })
}

/// Lists the reservations of every host.
pub(crate) async fn list(_: &ReservationsArgs, session: &mut Session) -> Ended {
    let hosts = session.hosts()?;
    let answers = ask_all(&hosts, session.bounds(), list_one).await;
    let is_empty = |all: &Vec<Reservation>| all.is_empty();
    let empty: Vec<String> = answers
        .iter()
        .filter(|answer| answer.result.as_ref().is_ok_and(is_empty))
        .map(|answer| answer.host.clone())
        .collect();
    let mut items = Item::of_answers(answers, |all| {
        all.into_iter().map(|reservation| ReservationBody { applied: true, reservation }).collect()
    });
    session.output.show(&mut items)?;
    if !session.output.is_for_programs() {
        for host in empty {
            session.output.notice(&format!("{host}: nothing is reserved"))?;
        }
        tell_missing(&items, false, session)?;
    }
    Ok(exit_of(&items))
}

/// Ends a reservation.
pub(crate) async fn release(args: &ReleaseArgs, session: &mut Session) -> Ended {
    let hosts = args.id.hosts(session)?;
    let Numbered { id, .. } = args.id;
    if hosts.len() > 1 {
        let what = format!("release {id} on {} hosts: each host numbers its own", hosts.len());
        let hint = format!("name the one host: memctl release HOST/{id}");
        return Err(Failure::usage(what).hint(hint).into());
    }
    let request = v1::DeleteReservationRequest { id, reason: args.reason.clone() };
    let end = move |connection| delete(connection, request.clone());
    let answers = ask_all(&hosts, session.bounds(), end).await;
    let body = |reservation| vec![ReservationBody { applied: true, reservation }];
    let mut items = Item::of_answers(answers, body);
    session.output.show(&mut items)?;
    Ok(exit_of(&items))
}

/// A reservation as typed.
#[derive(Clone, Debug)]
struct Numbered {
    /// Whose it is, where that is said.
    host: Option<String>,
    id: u64,
}

impl Numbered {
    /// Reads ID or HOST/ID.
    fn parse(text: &str) -> Result<Self, String> {
        match text.rsplit_once('/') {
            Some((host, id)) if !host.is_empty() => {
                Ok(Self { host: Some(host.to_owned()), id: parse_id(id)? })
            }
            Some(_) | None => Ok(Self { host: None, id: parse_id(text)? }),
        }
    }

    /// The host that is named, whichever one is current; it has to be among those of --host and -A.
    fn hosts(&self, session: &mut Session) -> Result<Vec<Host>, Failure> {
        let Self { host: Some(named), id } = self else { return session.hosts() };
        let is_free = session.global.hosts.is_empty() && !session.global.all_hosts;
        let is_it = |host: &Host| host.name == *named;
        if is_free && !session.hosts().is_ok_and(|hosts| hosts.iter().any(is_it)) {
            session.global.hosts.push(named.clone());
        }
        let mut hosts = session.hosts()?;
        hosts.retain(is_it);
        if hosts.is_empty() {
            let what = format!("{named}/{id}: {named} is none of the hosts that are to be asked");
            return Err(Failure::usage(what).hint("leave --host out: what is before the / says it"));
        }
        Ok(hosts)
    }
}

/// Reads the number of a reservation.
pub(crate) fn parse_id(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| {
        format!("\"{text}\" is no number of a reservation, as 3 is: memctl reservations lists them")
    })
}

/// A script whose variable is unset must not reserve for whoever comes first.
fn parse_vm(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("no VM is named; leave --vm out for the first one that starts".to_owned());
    }
    Ok(text.to_owned())
}

fn request(args: &ReserveArgs) -> Result<v1::CreateReservationRequest, Failure> {
    let duration = prost_types::Duration::try_from(args.lasting);
    let duration = duration.map_err(|error| Failure::usage(format!("--for: {error}")))?;
    let (min_bytes, max_bytes) = args.size;
    Ok(v1::CreateReservationRequest {
        min_bytes,
        max_bytes,
        duration: Some(duration),
        vm: args.vm.clone().unwrap_or_default(),
        reason: args.reason.clone(),
        request_id: args.request_id.clone(),
        validate_only: args.dry_run,
    })
}

/// Asks again and again until every reservation is there or over, or the time is up; those that were
/// over before they were there, as they stood when they were last seen open. A host that does not
/// answer for a moment is asked again.
async fn wait(
    hosts: &[Host],
    items: &mut [Item<ReservationBody>],
    patience: Duration,
    session: &Session,
) -> std::io::Result<Vec<(String, Reservation)>> {
    let deadline = Instant::now() + patience;
    let mut missed = Vec::new();
    tell_waiting(items, patience, session)?;
    let mut progress = Progress::in_words(session.bounds().tells);
    loop {
        let asked = progress.beside(ask_open(hosts, items, session, deadline)).await;
        for (place, now) in asked {
            let Some(item) = items.get_mut(place) else { continue };
            let Some(body) = &mut item.body else { continue };
            let before = std::mem::replace(&mut body.reservation, now);
            if body.reservation.end_time.is_some() && !body.reservation.is_there() {
                missed.push((item.host.clone(), before));
            }
        }
        let is_open = reservations(items).any(|(_, own)| is_waited_for(own));
        if !is_open || Instant::now() >= deadline {
            return Ok(missed);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        progress.say(|| filling(reservations(items), left, session.global.units));
        progress.beside(tokio::time::sleep(ASK_EVERY)).await;
    }
}

/// "reservation 3 of node1: 1.2 GiB of 2 GiB is there, 47s left", or of several together.
fn filling<'a>(
    all: impl Iterator<Item = (&'a String, &'a Reservation)>,
    left: Duration,
    units: Units,
) -> String {
    let open: Vec<_> = all.filter(|(_, own)| is_waited_for(own)).collect();
    let what = match open.as_slice() {
        [(host, own)] => format!("reservation {} of {host}", own.id),
        several => format!("{} reservations", several.len()),
    };
    let sum = |of: fn(&Reservation) -> u64| {
        open.iter().fold(0, |sum: u64, (_, own)| sum.saturating_add(of(own)))
    };
    let held = sum(|own| own.held_bytes.unwrap_or_default().min(own.min_bytes));
    let (held, wanted) = format_apart(held, sum(|own| own.min_bytes), units);
    let left = format_seconds(left.as_secs_f64());
    format!("{what}: {held} of {wanted} is there, {left} left")
}

/// Asks for each reservation that is waited for, all at once: one host that does not answer costs the
/// others nothing. The answers with the places of their items.
async fn ask_open(
    hosts: &[Host],
    items: &[Item<ReservationBody>],
    session: &Session,
    deadline: Instant,
) -> Vec<(usize, Reservation)> {
    // Asked once whatever time is left: to say how it stands needs an answer.
    let left = deadline.saturating_duration_since(Instant::now()).max(ASK_EVERY);
    let timeout = session.bounds().timeout.min(left);
    let permits = Arc::new(Semaphore::new(session.bounds().max_parallel.max(1)));
    let mut tasks = JoinSet::new();
    for (place, item) in items.iter().enumerate() {
        let host = hosts.iter().find(|host| host.name == item.host);
        let own = item.body.as_ref().map(|body| &body.reservation);
        let (Some(own), Some(host)) = (own.filter(|own| is_waited_for(own)), host) else {
            continue;
        };
        let (id, host, permits) = (own.id, host.clone(), Arc::clone(&permits));
        tasks.spawn(async move {
            let _permit = permits.acquire().await;
            (place, ask_one(&host, timeout, move |c| get(c, id)).await)
        });
    }
    let mut answers = Vec::new();
    while let Some(finished) = tasks.join_next().await {
        if let Ok((place, Ok(now))) = finished {
            answers.push((place, now));
        }
    }
    answers
}

fn is_waited_for(own: &Reservation) -> bool {
    own.end_time.is_none() && !own.is_there()
}

/// Tells a person of those that were over before they were there what was missing, and who kept it.
fn tell_missed(missed: &[(String, Reservation)], session: &Session) -> std::io::Result<()> {
    if session.output.is_for_programs() {
        return Ok(());
    }
    for (host, before) in missed {
        let (id, message) = (before.id, &before.message);
        let text = format!("{host}: reservation {id} was over before it was there: {message}");
        session.output.notice(&text)?;
        for line in refusals(before, session.global.units) {
            session.output.notice(&format!("  {line}"))?;
        }
    }
    Ok(())
}

fn tell_waiting(
    items: &[Item<ReservationBody>],
    patience: Duration,
    session: &Session,
) -> std::io::Result<()> {
    // Programs are told too: who is ended while waiting has to know what it leaves behind.
    for (host, own) in reservations(items).filter(|(_, own)| is_waited_for(own)) {
        let (id, wait) = (own.id, format_time(patience));
        let text = format!("{host}: reservation {id} is made; waiting {wait} at most for it");
        session.output.notice(&text)?;
    }
    Ok(())
}

/// Tells who ends the waiting what is left behind; programs too.
fn tell_left(items: &[Item<ReservationBody>], session: &Session) -> std::io::Result<()> {
    for (host, own) in reservations(items).filter(|(_, own)| is_waited_for(own)) {
        let text = format!("{host}: reservation {} is not there yet and goes on filling", own.id);
        session.output.notice(&text)?;
        session.output.notice(&stays(host, own, session))?;
    }
    Ok(())
}

fn stays(host: &str, own: &Reservation, session: &Session) -> String {
    let whose = if session.output.view.many_hosts { format!("{host}/") } else { String::new() };
    format!("  it stays until it expires; memctl release {whose}{} ends it", own.id)
}

/// Tells a person what a dry run found: what could be made, or is made already.
fn tell_dry(items: &[Item<ReservationBody>], session: &Session) -> std::io::Result<()> {
    let found = reservations(items).map(|(host, own)| match own.id {
        0 => format!("{host}: it could be reserved; nothing is, as --dry-run only checks it"),
        id => format!("{host}: reservation {id} is made already with this --request-id"),
    });
    tell_each(&found.collect::<Vec<_>>(), session)
}

/// What to tell of those that were over when they were asked for: the same request made them before.
fn over(items: &[Item<ReservationBody>]) -> Vec<String> {
    let over = reservations(items).filter(|(_, own)| own.end_time.is_some() && !own.is_there());
    let told = over.map(|(host, own)| {
        let (id, message) = (own.id, &own.message);
        format!(
            "{host}: reservation {id} was made with this --request-id before and is over: {message}; \
             another --request-id makes another one"
        )
    });
    told.collect()
}

/// Tells it to a person.
fn tell_each(lines: &[String], session: &Session) -> std::io::Result<()> {
    for line in lines.iter().filter(|_| !session.output.is_for_programs()) {
        session.output.notice(line)?;
    }
    Ok(())
}

/// Tells a person who keeps what from being there, or why nobody knows what is.
fn tell_missing(
    items: &[Item<ReservationBody>],
    waited: bool,
    session: &Session,
) -> std::io::Result<()> {
    let units = session.global.units;
    if session.output.is_for_programs() {
        return Ok(());
    }
    for (host, own) in reservations(items) {
        let is_open = own.end_time.is_none() && own.state != Reservation::HANDED_OVER;
        let is_missing = !own.is_there() && (waited || own.lacks_bytes.is_some_and(|b| b > 0));
        let is_unknown = own.lacks_bytes.is_none();
        if !is_open || !is_missing && !is_unknown {
            continue;
        }
        let (id, message) = (own.id, &own.message);
        session.output.notice(&format!("{host}: reservation {id} {message}"))?;
        for line in refusals(own, units) {
            session.output.notice(&format!("  {line}"))?;
        }
        if waited && is_missing {
            session.output.notice(&stays(host, own, session))?;
        }
    }
    Ok(())
}

fn reservations(items: &[Item<ReservationBody>]) -> impl Iterator<Item = (&String, &Reservation)> {
    items.iter().filter_map(|item| Some((&item.host, &item.body.as_ref()?.reservation)))
}

async fn create(
    connection: Connection,
    request: v1::CreateReservationRequest,
) -> Result<Reservation, Failure> {
    let answer = connection.reservations().create_reservation(request.clone()).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
    let made = wire.reservation.unwrap_or_default();
    as_asked(&request, &made)?;
    Ok(made.into())
}

/// Refuses a reservation that lacks something of the request: an older agent leaves out what it does not know.
fn as_asked(request: &v1::CreateReservationRequest, made: &v1::Reservation) -> Result<(), Failure> {
    let lacking = [
        ("the size", (made.min_bytes, made.max_bytes) != (request.min_bytes, request.max_bytes)),
        ("--vm", !request.vm.is_empty() && made.vm.is_empty()),
        ("--dry-run", request.validate_only && request.request_id.is_empty() && made.id != 0),
    ];
    let lacking = lacking.into_iter().filter(|(_, lacks)| *lacks).map(|(what, _)| what);
    let lacking: Vec<&str> = lacking.collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let lacking = lacking.join(", ");
    let (what, hint) = match made.id {
        0 => (
            format!("the agent leaves out {lacking}"),
            "nothing was reserved; update the agent".to_owned(),
        ),
        id => (
            format!("the agent made reservation {id} without {lacking}"),
            format!("memctl release {id} ends it; update the agent"),
        ),
    };
    Err(Failure::new(Code::Unimplemented, "LEFT_OUT", what).hint(hint))
}

async fn get(connection: Connection, id: u64) -> Result<Reservation, Failure> {
    let request = v1::GetReservationRequest { id };
    let answer = connection.reservations().get_reservation(request).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
    Ok(wire.reservation.unwrap_or_default().into())
}

/// Those of one host that are not over.
pub(crate) async fn list_one(connection: Connection) -> Result<Vec<Reservation>, Failure> {
    let request = v1::ListReservationsRequest {};
    let answer = connection.reservations().list_reservations(request).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
    Ok(wire.reservations.into_iter().map(Into::into).collect())
}

async fn delete(
    connection: Connection,
    request: v1::DeleteReservationRequest,
) -> Result<Reservation, Failure> {
    let answer = connection.reservations().delete_reservation(request).await;
    let wire = answer.map_err(|status| Failure::from_status(&status))?.into_inner();
    Ok(wire.reservation.unwrap_or_default().into())
}

/// Reads SIZE or MIN..MAX.
fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let Some((min, max)) = text.split_once("..") else {
        return parse_size(text).map(|size| (size, size));
    };
    let (min, max) = (parse_size(min)?, parse_size(max)?);
    if min > max {
        return Err(format!("\"{text}\": the first size is above the second: write MIN..MAX"));
    }
    Ok((min, max))
}

/// A tick is seldom shorter.
const ASK_EVERY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_is_told_alone_or_together() {
        const GIB: u64 = 1 << 30;
        let own = |id, held_bytes, filled: bool| {
            let state = match filled {
                true => v1::ReservationState::Filled,
                false => v1::ReservationState::Filling,
            };
            let wire = v1::Reservation {
                id,
                state: state.into(),
                min_bytes: 2 * GIB,
                held_bytes,
                ..Default::default()
            };
            ("node1".to_owned(), Reservation::from(wire))
        };
        let all = [own(3, Some(GIB), false), own(4, None, false), own(5, Some(2 * GIB), true)];
        let told = |all: &[(String, Reservation)]| {
            let left = Duration::from_secs(47);
            filling(all.iter().map(|(host, own)| (host, own)), left, Units::Iec)
        };
        let alone = "reservation 3 of node1: 1 GiB of 2 GiB is there, 47s left";
        assert_eq!(told(&all[..1]), alone);
        assert_eq!(told(&all), "2 reservations: 1 GiB of 4 GiB is there, 47s left");
    }

    #[test]
    fn what_an_agent_leaves_out_is_said_with_what_there_is_now() {
        let asked = v1::CreateReservationRequest { vm: "db7".to_owned(), ..Default::default() };
        let refused = |id| {
            let made = v1::Reservation { id, ..Default::default() };
            let failure = as_asked(&asked, &made).unwrap_err();
            (failure.message, failure.hint.unwrap_or_default())
        };
        let (what, hint) = refused(7);
        assert!(what.contains("made reservation 7 without --vm"), "{what}");
        assert!(hint.contains("memctl release 7"), "{hint}");
        let (what, hint) = refused(0);
        assert!(what.contains("leaves out --vm"), "{what}");
        assert!(hint.contains("nothing was reserved"), "{hint}");
        let made = v1::Reservation { vm: "db7".to_owned(), ..Default::default() };
        assert!(as_asked(&asked, &made).is_ok());
    }

    #[test]
    fn a_size_is_exact_and_two_are_a_range() {
        const GIB: u64 = 1 << 30;
        assert_eq!(parse_range("8GiB"), Ok((8 * GIB, 8 * GIB)));
        assert_eq!(parse_range("4GiB..8GiB"), Ok((4 * GIB, 8 * GIB)));
        for text in ["8", "8GiB..4GiB", "..8GiB", "4GiB..", "4GiB..8", "x"] {
            assert!(parse_range(text).is_err(), "{text} was taken");
        }
    }
}
