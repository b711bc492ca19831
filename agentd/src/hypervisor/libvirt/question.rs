//! What is asked of one VM at a time, on a thread that may hang with it.

use std::time::Duration;

use agentd_core::{bytes::ByteCount, vm::VmId};
use virt::error::{Error, ErrorNumber};

use super::{
    crew::Wire,
    ffi::{Control, Domain, is},
    record::Figures,
    standing::Job,
    ticket::Ticket,
    traits::stats_period,
};
use crate::hypervisor::Answer;

/// Why one VM brought no figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AskError {
    /// It is gone, or shut off.
    Gone,
    /// libvirt answered with an error.
    Failed(String),
}

/// How much one VM is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// What it holds and says right now.
    Live,
    /// The same, unless libvirt would hang: it was just busy with the VM.
    Careful,
    /// Its maximum as well: the bulk statistics say nothing of it.
    Everything,
}

/// Asks a VM for its figures.
pub(super) fn figures(wire: &Wire, vm: VmId, want: &Want) -> Result<Figures, AskError> {
    let domain = wire.domain(vm).map_err(|e| why_no_domain(&e))?;
    if let Some(obstacle) = (*want == Want::Careful).then(|| obstacle(&domain, BUSY)).flatten() {
        return Err(AskError::Failed(obstacle));
    }
    let mut figures = match domain.memory_stats() {
        Ok(stats) => Figures::of_stats(&stats),
        // Such a hypervisor still remembers what a VM holds.
        Err(error) if is(&error, ErrorNumber::NoSupport) => Figures::default(),
        Err(error) => return Err(why_not(&domain, &error)),
    };
    if *want == Want::Everything || figures.actual.is_none() {
        let info = domain.info().map_err(|e| why_not(&domain, &e))?;
        figures.complete(&info);
    }
    Ok(figures)
}

/// An order for one VM.
#[derive(Debug)]
pub(super) struct Order {
    /// What it is to hold.
    pub(super) target: ByteCount,
    /// Leave to pass it on.
    pub(super) ticket: Ticket,
}

/// Orders how much a VM is to hold.
///
/// What is asked before may hang for as long as the VM does: whether the order may still go out is
/// looked at last.
pub(super) fn order(wire: &Wire, vm: VmId, order: &Order) -> Answer {
    let kib = order.target.kib_floor();
    if ByteCount::from_kib(kib) != Some(order.target) {
        return Answer::Refused(format!("{} bytes are no whole KiB", order.target.as_u64()));
    }
    let domain = match wire.domain(vm) {
        Ok(domain) => domain,
        Err(error) => return not_passed_on(why_no_domain(&error)),
    };
    if let Some(obstacle) = obstacle(&domain, HANGS) {
        return Answer::Refused(obstacle);
    }
    // An order would wait for the end of a job, half a minute at most, and then fail.
    if let Some(answer) = hindrance(current_job(&domain).map_err(|e| why_not(&domain, &e))) {
        return answer;
    }
    if !order.ticket.redeem() {
        return Answer::Refused(TOO_LATE.to_owned());
    }
    match domain.set_memory_kib(kib) {
        Ok(()) => Answer::Accepted,
        // The order may have arrived before the line broke.
        Err(_) if !wire.connection.is_alive() => Answer::InDoubt,
        Err(error) => not_passed_on(why_not(&domain, &error)),
    }
}

/// What becomes of an order, given the job that libvirt is at; `None` when nothing hinders it. Where
/// libvirt cannot tell, it could not pass the order on either: it waits for the VM half a minute
/// before it says so.
fn hindrance(job: Result<Option<Job>, AskError>) -> Option<Answer> {
    match job {
        Ok(job) => job.and_then(Job::obstacle).map(|words| Answer::Refused(words.to_owned())),
        Err(why) => Some(not_passed_on(why)),
    }
}

fn not_passed_on(why: AskError) -> Answer {
    match why {
        AskError::Gone => Answer::VmGone,
        AskError::Failed(words) => Answer::Refused(words),
    }
}

/// Asks which long job libvirt is at; `None` is none. Waits for a VM that hangs.
pub(super) fn job(wire: &Wire, vm: VmId, (): &()) -> Result<Option<Job>, AskError> {
    let domain = wire.domain(vm).map_err(|e| why_no_domain(&e))?;
    current_job(&domain).map_err(|e| why_not(&domain, &e))
}

fn current_job(domain: &Domain) -> Result<Option<Job>, Error> {
    match domain.job() {
        // Of a VM on its way here libvirt tells only that.
        Err(error) if is(&error, ErrorNumber::OperationUnsupported) => Ok(Some(Job::MigrationIn)),
        // Such a hypervisor has no jobs.
        Err(error) if is(&error, ErrorNumber::NoSupport) => Ok(None),
        answer => answer,
    }
}

/// Asks for a VM's name and its XML. libvirt has both at hand: a VM that hangs delays neither.
pub(super) fn definition(wire: &Wire, vm: VmId) -> Result<(String, String), AskError> {
    let domain = wire.domain(vm).map_err(|e| why_no_domain(&e))?;
    let both = domain.name().and_then(|name| Ok((name, domain.xml()?)));
    both.map_err(|e| why_not(&domain, &e))
}

/// Has a VM report every so many seconds. `Some` says why it will not, as far as libvirt knows.
pub(super) fn arm(wire: &Wire, vm: VmId, seconds: i32) -> Result<Option<String>, AskError> {
    let domain = wire.domain(vm).map_err(|e| why_no_domain(&e))?;
    if let Some(obstacle) = obstacle(&domain, HANGS) {
        return Err(AskError::Failed(obstacle));
    }
    match domain.set_stats_period(seconds) {
        Ok(()) => Ok(None),
        Err(error) => match why_not(&domain, &error) {
            AskError::Failed(words) if is_final(&error) => Ok(Some(words)),
            why @ (AskError::Gone | AskError::Failed(_)) => Err(why),
        },
    }
}

/// Why a VM was not asked to report at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unasked {
    /// It reports as before.
    Armed(String),
    /// It may have been told to report no more.
    Disarmed(String),
}

/// Has a VM report at once that reports every so many seconds, as it goes on to do.
///
/// QEMU asks a VM for its figures at once when it is given a period after it had none, and puts them
/// off when it is given another one (`balloon_stats_set_poll_interval`). A VM that somebody else
/// gave another period, or none, is left with that; so is one that libvirt is at a job on, which would have the call
/// wait for half a minute.
///
/// With what it held and had said right before, where it is `is_live`: read by a call of its own.
pub(super) fn report_now(
    wire: &Wire,
    vm: VmId,
    (seconds, is_live): (i32, bool),
) -> Result<Option<Figures>, Unasked> {
    let armed = |error: &Error| Unasked::Armed(error.message().to_owned());
    let domain = wire.domain(vm).map_err(|e| armed(&e))?;
    if let Some(obstacle) = obstacle(&domain, BUSY) {
        return Err(Unasked::Armed(obstacle));
    }
    let job = current_job(&domain).map_err(|e| armed(&e))?;
    if let Some(words) = job.and_then(Job::obstacle) {
        return Err(Unasked::Armed(words.to_owned()));
    }
    let period = stats_period(&domain.xml().map_err(|e| armed(&e))?);
    if period != Some(seconds) {
        let period = period.map_or_else(|| "never".to_owned(), |other| format!("every {other} s"));
        return Err(Unasked::Armed(format!("somebody has it report {period}")));
    }
    let before = is_live.then(|| domain.memory_stats().ok()).flatten();
    let disarmed = |error: &Error| Unasked::Disarmed(error.message().to_owned());
    let never = domain.set_stats_period(0);
    // Also after a failure: it may have taken effect.
    let again = domain.set_stats_period(seconds).or_else(|_| domain.set_stats_period(seconds));
    again.and(never).map_err(|e| disarmed(&e))?;
    Ok(before.map(|stats| Figures::of_stats(&stats)))
}

/// Why a call would hang or be refused, as far as libvirt can tell without asking the VM: also when
/// it has waited for the VM for so long.
fn obstacle(domain: &Domain, so_long: Duration) -> Option<String> {
    match domain.control() {
        Ok(Control::Job) => Some("libvirt is at another job on the VM".to_owned()),
        Ok(Control::Occupied(lasting)) if lasting >= so_long => {
            Some(format!("the VM has not answered libvirt for {lasting:.1?}"))
        }
        Ok(Control::Broken) => Some("libvirt has lost its connection to the VM".to_owned()),
        // A driver that cannot tell does not hang either.
        Ok(Control::Free | Control::Occupied(_)) | Err(_) => None,
    }
}

fn why_no_domain(error: &Error) -> AskError {
    if is(error, ErrorNumber::NoDomain) {
        AskError::Gone
    } else {
        AskError::Failed(error.message().to_owned())
    }
}

/// libvirt has no code of its own for a VM that was shut off in between.
fn why_not(domain: &Domain, error: &Error) -> AskError {
    match domain.is_active() {
        Ok(false) => AskError::Gone,
        Err(error) if is(&error, ErrorNumber::NoDomain) => AskError::Gone,
        Ok(true) | Err(_) => AskError::Failed(error.message().to_owned()),
    }
}

/// True for what as a rule only another VM, or this one after a restart, could change.
fn is_final(error: &Error) -> bool {
    [
        ErrorNumber::NoSupport,
        ErrorNumber::OperationInvalid,
        ErrorNumber::OperationUnsupported,
        ErrorNumber::ConfigUnsupported,
        ErrorNumber::ArgumentUnsupported,
        ErrorNumber::DeviceMissing,
        ErrorNumber::AccessDenied,
    ]
    .into_iter()
    .any(|number| is(error, number))
}

const TOO_LATE: &str = "not passed on: its time was over before libvirt was ready for it";
// An answer of a VM takes libvirt about two milliseconds. An order that is not passed on costs a
// tick, a figure that is not asked for costs nothing when the VM hangs.
const HANGS: Duration = Duration::from_secs(1);
const BUSY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::{Arc, mpsc::sync_channel},
    };

    use super::*;
    use crate::{
        clock::{Clock, RealClock, VirtualClock},
        hypervisor::libvirt::{
            calls::Calls,
            crew::Crew,
            ffi::{Connection, start_event_loop},
            scatter::Deadline,
        },
    };

    const VM: VmId = VmId::from_bytes([7; 16]);
    const SECOND: Duration = Duration::from_secs(1);

    /// One connection to a world of its own, with one VM of 512 MiB.
    fn crew(folder: &Path) -> Crew {
        let world = folder.join("world.xml");
        let text = format!(
            "<node><domain type='test'><name>vm1</name><uuid>{VM}</uuid>
             <memory>524288</memory><os><type>hvm</type></os></domain></node>"
        );
        std::fs::write(&world, text).expect("a file");
        start_event_loop().expect("the event loop");
        let connection = Connection::open(&format!("test://{}", world.display()));
        let connections = vec![connection.expect("a connection")];
        Crew::new(connections, &Calls::new(RealClock::start())).expect("a thread")
    }

    /// What becomes of an order to hold 256 MiB, and what the VM holds then.
    fn pass_on(ticket: Ticket) -> (Answer, Option<ByteCount>) {
        let folder = tempfile::tempdir().expect("a folder");
        let crew = crew(folder.path());
        let (said, answer) = sync_channel(1);
        let given = Order { target: ByteCount::mib(256), ticket };
        assert!(crew.start(0, move |wire| {
            let answer = order(wire, VM, &given);
            let holds = figures(wire, VM, &Want::Live).expect("figures").actual;
            said.send((answer, holds)).expect("somebody waits");
        }));
        answer.recv().expect("an answer")
    }

    fn ticket(clock: &Arc<VirtualClock>) -> Ticket {
        let clock: Arc<dyn Clock> = clock.clone();
        Ticket::until(&Deadline::after(&clock, SECOND))
    }

    #[test]
    fn an_order_goes_out_while_its_ticket_is_good_and_not_afterwards() {
        let clock = Arc::new(VirtualClock::default());
        let (few, many) = (Some(ByteCount::mib(256)), Some(ByteCount::mib(512)));
        assert_eq!(pass_on(ticket(&clock)), (Answer::Accepted, few));
        let given_up = ticket(&clock);
        assert!(given_up.give_up());
        assert_eq!(pass_on(given_up), (Answer::Refused(TOO_LATE.to_owned()), many));
        let late = ticket(&clock);
        clock.sleep(SECOND);
        assert_eq!(pass_on(late), (Answer::Refused(TOO_LATE.to_owned()), many));
    }

    #[test]
    fn where_libvirt_does_not_tell_its_job_nothing_is_ordered() {
        assert_eq!(hindrance(Ok(None)), None);
        assert_eq!(hindrance(Ok(Some(Job::Backup))), None);
        let refused = |words: &str| Some(Answer::Refused(words.to_owned()));
        assert_eq!(hindrance(Ok(Some(Job::Save))), refused("libvirt is saving the VM"));
        assert_eq!(hindrance(Err(AskError::Failed("no lock".to_owned()))), refused("no lock"));
        assert_eq!(hindrance(Err(AskError::Gone)), Some(Answer::VmGone));
    }
}
