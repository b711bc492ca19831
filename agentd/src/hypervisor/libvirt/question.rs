//! What is asked of one VM at a time, on a thread that may hang with it.

use std::time::Duration;

use agentd_core::{bytes::ByteCount, vm::VmId};
use virt::error::{Error, ErrorNumber};

use super::{
    crew::Wire,
    ffi::{Control, Domain, is},
    record::Figures,
    standing::Job,
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

/// Orders how much a VM is to hold.
pub(super) fn order(wire: &Wire, vm: VmId, target: &ByteCount) -> Answer {
    let kib = target.kib_floor();
    if ByteCount::from_kib(kib) != Some(*target) {
        return Answer::Refused(format!("{} bytes are no whole KiB", target.as_u64()));
    }
    let domain = match wire.domain(vm) {
        Ok(domain) => domain,
        Err(error) if is(&error, ErrorNumber::NoDomain) => return Answer::VmGone,
        Err(error) => return Answer::Refused(error.message().to_owned()),
    };
    if let Some(obstacle) = obstacle(&domain, HANGS) {
        return Answer::Refused(obstacle);
    }
    // An order would wait for the end of a job, half a minute at most, and then fail.
    if let Ok(Some(obstacle)) = current_job(&domain).map(|job| job.and_then(Job::obstacle)) {
        return Answer::Refused(obstacle.to_owned());
    }
    match domain.set_memory_kib(kib) {
        Ok(()) => Answer::Accepted,
        // The order may have arrived before the line broke.
        Err(_) if !wire.connection.is_alive() => Answer::InDoubt,
        Err(error) => match why_not(&domain, &error) {
            AskError::Gone => Answer::VmGone,
            AskError::Failed(words) => Answer::Refused(words),
        },
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

/// Has a VM report every so many seconds. `Some` says why it never will.
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

/// True for what only another VM, or this one after a restart, could change.
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

// An answer of a VM takes libvirt about two milliseconds. An order that is not passed on costs a
// tick, a figure that is not asked for costs nothing when the VM hangs.
const HANGS: Duration = Duration::from_secs(1);
const BUSY: Duration = Duration::from_millis(50);
