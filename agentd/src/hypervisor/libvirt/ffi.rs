//! libvirt's C library where the `virt` crate does not reach or cannot be trusted: the event loop,
//! events, bulk statistics, and handles that are closed without panicking.
//!
//! The only file with `unsafe`. Every call returns owned values and libvirt's own error; what they
//! mean is decided elsewhere.

#![allow(unsafe_code, reason = "bulk statistics and events are only to be had from the C library")]

use std::{
    ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void},
    mem::ManuallyDrop,
    ptr, slice,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
    time::Duration,
};

use agentd_core::vm::VmId;
use virt::{
    connect::Connect,
    domain::{DomainInfo, MemoryStat},
    error::{Error, ErrorNumber, clear_error_callback},
};
use virt_sys as sys;

use super::{
    events::{Event, Signals},
    record::Record,
    standing::Job,
};

/// Registers libvirt's event loop and runs it for ever on its own thread; later calls do nothing.
/// Must come before the first connection is opened, or keepalive and events stay silent.
pub(super) fn start_event_loop() -> Result<(), String> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    STARTED
        .get_or_init(|| {
            // By default libvirt prints every error to stderr as well.
            clear_error_callback();
            virt::event::event_register_default_impl().map_err(|e| e.to_string())?;
            thread::Builder::new()
                .name("libvirt-events".to_owned())
                .spawn(run_event_loop)
                .map(drop)
                .map_err(|e| format!("cannot start the thread of libvirt's events: {e}"))
        })
        .clone()
}

fn run_event_loop() {
    extern "C" fn wake(_timer: c_int, _opaque: *mut c_void) {}
    // SAFETY: the callback takes no state and lives as long as the program. The timer keeps the
    // loop turning while no connection is open.
    let timer = unsafe { sys::virEventAddTimeout(WAKE_MILLIS, Some(wake), ptr::null_mut(), None) };
    if timer < 0 {
        tracing::warn!("libvirt's event loop runs without a timer: {}", Error::last_error());
    }
    loop {
        if let Err(error) = virt::event::event_run_default_impl() {
            tracing::warn!("libvirt's event loop stumbled: {error}");
            thread::park_timeout(Duration::from_secs(1));
        }
    }
}

/// An open connection to libvirt. Closing it may block as long as libvirt does.
#[derive(Debug)]
pub(super) struct Connection {
    /// `Connect` panics when it cannot be closed: it is closed by [`Connection::drop`] alone.
    connect: ManuallyDrop<Connect>,
    /// Numbers of the registered event callbacks.
    callbacks: Mutex<Vec<c_int>>,
}

impl Connection {
    /// Opens `uri` and has a connection that went silent broken off.
    pub(super) fn open(uri: &str) -> Result<Self, Error> {
        let connection = Self {
            connect: ManuallyDrop::new(Connect::open(Some(uri))?),
            callbacks: Mutex::new(Vec::new()),
        };
        let (seconds, misses) = KEEPALIVE;
        match connection.connect.set_keep_alive(seconds, misses) {
            // A driver inside this process has no line that could break.
            Err(error) if !is(&error, ErrorNumber::NoSupport) => Err(error),
            Ok(()) | Err(_) => Ok(connection),
        }
    }

    /// False once the connection is lost.
    pub(super) fn is_alive(&self) -> bool {
        self.connect.is_alive().unwrap_or(false)
    }

    /// Statistics of every VM that is not shut off, in one call. A VM that libvirt is busy with is
    /// there with fewer figures.
    pub(super) fn all_stats(&self) -> Result<Vec<Record>, Error> {
        let mut list = RecordList(ptr::null_mut());
        let what = sys::VIR_DOMAIN_STATS_STATE | sys::VIR_DOMAIN_STATS_BALLOON;
        let flags = sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
            | sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;
        // SAFETY: the connection is open, and `list.0` takes a list that `RecordList` frees.
        let count = unsafe {
            sys::virConnectGetAllDomainStats(self.as_ptr(), what, &raw mut list.0, flags)
        };
        let Ok(count) = usize::try_from(count) else {
            return Err(Error::last_error());
        };
        if list.0.is_null() {
            return Ok(Vec::new());
        }
        // SAFETY: libvirt wrote `count` records to the list, which lives until `list` drops.
        let records = unsafe { slice::from_raw_parts(list.0, count) };
        // SAFETY: each points to a record of that list.
        records.iter().map(|record| unsafe { own(*record) }).collect()
    }

    /// Id and name of every VM that is not shut off.
    pub(super) fn list(&self) -> Result<Vec<(VmId, String)>, Error> {
        let listed = self.connect.list_all_domains(sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE)?;
        let listed = listed.into_iter().map(Domain::new).collect::<Vec<_>>();
        listed.iter().map(|domain| Ok((domain.id()?, domain.0.name()?))).collect()
    }

    /// A handle on one VM.
    pub(super) fn domain(&self, vm: VmId) -> Result<Domain, Error> {
        self.connect.lookup_domain_by_uuid_string(&vm.to_string()).map(Domain::new)
    }

    /// Has starts, stops, reboots, balloon and device changes of all VMs, and the end of the
    /// connection, sent to `signals`.
    pub(super) fn watch(&self, signals: &Arc<Signals>) -> Result<(), Error> {
        self.watch_close(signals)?;
        // SAFETY: libvirt calls each callback with the arguments of its event id; the generic
        // type is only how they are passed.
        let (lifecycle, balloon, device) = unsafe {
            (
                std::mem::transmute::<Lifecycle, Generic>(on_lifecycle),
                std::mem::transmute::<Balloon, Generic>(on_balloon),
                std::mem::transmute::<Device, Generic>(on_device),
            )
        };
        self.watch_event(sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle, signals)?;
        self.watch_event(sys::VIR_DOMAIN_EVENT_ID_REBOOT, on_reboot, signals)?;
        self.watch_event(sys::VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, device, signals)?;
        self.watch_event(sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, device, signals)?;
        self.watch_event(sys::VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, balloon, signals)
    }

    /// Has the end of the connection sent to `signals`.
    pub(super) fn watch_close(&self, signals: &Arc<Signals>) -> Result<(), Error> {
        let opaque = Arc::into_raw(Arc::clone(signals)).cast_mut().cast();
        // SAFETY: `opaque` is a counted reference that `release` gives back when libvirt is done.
        let registered = unsafe {
            sys::virConnectRegisterCloseCallback(
                self.as_ptr(),
                Some(on_close),
                opaque,
                Some(release),
            )
        };
        self.registered(registered, opaque).map(drop)
    }

    fn watch_event(
        &self,
        event: sys::virDomainEventID,
        callback: Generic,
        signals: &Arc<Signals>,
    ) -> Result<(), Error> {
        let opaque = Arc::into_raw(Arc::clone(signals)).cast_mut().cast();
        let event = c_int::try_from(event).unwrap_or(c_int::MAX);
        // SAFETY: no domain means all of them, `callback` has the arguments of `event`, and
        // `opaque` is a counted reference that `release` gives back.
        let number = unsafe {
            sys::virConnectDomainEventRegisterAny(
                self.as_ptr(),
                ptr::null_mut(),
                event,
                Some(callback),
                opaque,
                Some(release),
            )
        };
        let number = self.registered(number, opaque)?;
        let mut callbacks = self.callbacks.lock().unwrap_or_else(PoisonError::into_inner);
        callbacks.extend(number);
        Ok(())
    }

    /// What a registration answered; a refused one keeps no reference.
    fn registered(&self, number: c_int, opaque: *mut c_void) -> Result<Option<c_int>, Error> {
        if number >= 0 {
            return Ok(Some(number));
        }
        let error = Error::last_error();
        // SAFETY: libvirt did not take the reference, so it is still ours to give back.
        unsafe { release(opaque) };
        if is(&error, ErrorNumber::NoSupport) { Ok(None) } else { Err(error) }
    }

    fn as_ptr(&self) -> sys::virConnectPtr {
        // SAFETY: the pointer is used only while `self`, which owns the reference, lives.
        unsafe { self.connect.as_ptr() }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let callbacks = self.callbacks.get_mut().unwrap_or_else(PoisonError::into_inner);
        let callbacks = std::mem::take(callbacks);
        // SAFETY: the connection is open, and used for the last time here. Callbacks hold
        // references on it, so they go first; that fails harmlessly when the line is cut.
        let closed = unsafe {
            for callback in callbacks {
                sys::virConnectDomainEventDeregisterAny(self.as_ptr(), callback);
            }
            sys::virConnectUnregisterCloseCallback(self.as_ptr(), Some(on_close));
            sys::virConnectClose(self.as_ptr())
        };
        if closed < 0 {
            tracing::warn!("cannot close a connection to libvirt: {}", Error::last_error());
        }
    }
}

/// libvirt's handle on one VM. Good for as long as the VM is defined or runs.
#[derive(Debug)]
pub(super) struct Domain(ManuallyDrop<virt::domain::Domain>);

impl Domain {
    fn new(domain: virt::domain::Domain) -> Self {
        Self(ManuallyDrop::new(domain))
    }

    fn id(&self) -> Result<VmId, Error> {
        // SAFETY: the handle is valid while `self` lives.
        unsafe { id_of(self.0.as_ptr()) }.ok_or_else(Error::last_error)
    }

    /// Its name, which libvirt lets nobody change while it runs.
    pub(super) fn name(&self) -> Result<String, Error> {
        self.0.name()
    }

    /// What it is made of, as XML: as it runs, not as it is to start the next time.
    pub(super) fn xml(&self) -> Result<String, Error> {
        self.0.xml_desc(0)
    }

    /// The long job that libvirt is at. Waits for a VM that hangs.
    pub(super) fn job(&self) -> Result<Option<Job>, Error> {
        let (mut kind, mut count) = (0, 0);
        let mut fields = ptr::null_mut();
        // SAFETY: the handle is valid while `self` lives, and the rest is ours to be filled.
        let answer = unsafe {
            let domain = self.0.as_ptr();
            sys::virDomainGetJobStats(domain, &raw mut kind, &raw mut fields, &raw mut count, 0)
        };
        if answer < 0 {
            return Err(Error::last_error());
        }
        let mut operation: c_int = 0;
        // SAFETY: libvirt wrote `count` fields, none where there is no job, and they are ours to
        // free; `operation` is ours to be filled.
        let found = unsafe {
            let name = sys::VIR_DOMAIN_JOB_OPERATION.as_ptr();
            let found = sys::virTypedParamsGetInt(fields, count, name, &raw mut operation);
            sys::virTypedParamsFree(fields, count);
            found
        };
        let runs = [sys::VIR_DOMAIN_JOB_BOUNDED, sys::VIR_DOMAIN_JOB_UNBOUNDED];
        let runs = u32::try_from(kind).is_ok_and(|kind| runs.contains(&kind));
        Ok(runs.then(|| Job::of((found == 1).then_some(operation))))
    }

    /// Live memory statistics, in KiB where they are amounts.
    pub(super) fn memory_stats(&self) -> Result<Vec<MemoryStat>, Error> {
        self.0.memory_stats(0)
    }

    /// State, memory and maximum as libvirt remembers them, in KiB.
    pub(super) fn info(&self) -> Result<DomainInfo, Error> {
        self.0.info()
    }

    /// Whether it runs at all.
    pub(super) fn is_active(&self) -> Result<bool, Error> {
        self.0.is_active()
    }

    /// Orders how much memory it is to hold.
    pub(super) fn set_memory_kib(&self, kib: u64) -> Result<(), Error> {
        self.0.set_memory_flags(kib, sys::VIR_DOMAIN_MEM_LIVE)
    }

    /// Has its balloon driver report every so many seconds.
    pub(super) fn set_stats_period(&self, seconds: i32) -> Result<(), Error> {
        self.0.set_memory_stats_period(seconds, sys::VIR_DOMAIN_MEM_LIVE)
    }

    /// Whether libvirt could work with it right now. Answers at once, also when the VM hangs.
    pub(super) fn control(&self) -> Result<Control, Error> {
        let mut info = sys::virDomainControlInfo { state: 0, details: 0, stateTime: 0 };
        // SAFETY: the handle is valid while `self` lives, and `info` is ours to be filled.
        let answer = unsafe { sys::virDomainGetControlInfo(self.0.as_ptr(), &raw mut info, 0) };
        if answer < 0 {
            return Err(Error::last_error());
        }
        let lasting = Duration::from_millis(info.stateTime);
        Ok(match info.state {
            sys::VIR_DOMAIN_CONTROL_JOB => Control::Job,
            sys::VIR_DOMAIN_CONTROL_OCCUPIED => Control::Occupied(lasting),
            sys::VIR_DOMAIN_CONTROL_ERROR if info.details == MONITOR => Control::Broken,
            // A job that does not talk to the VM: libvirt calls that an error for "unknown" reasons.
            sys::VIR_DOMAIN_CONTROL_ERROR => Control::Job,
            _ => Control::Free,
        })
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        // SAFETY: the handle is valid, and used for the last time here.
        if unsafe { sys::virDomainFree(self.0.as_ptr()) } < 0 {
            tracing::warn!("cannot free libvirt's handle on a VM: {}", Error::last_error());
        }
    }
}

/// What libvirt does with a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// Nothing.
    Free,
    /// A job, long or short, in which it does not wait for the VM.
    Job,
    /// It has waited for an answer of the VM for so long.
    Occupied(Duration),
    /// It lost the way to the VM.
    Broken,
}

/// True when libvirt failed for this reason.
pub(super) fn is(error: &Error, number: ErrorNumber) -> bool {
    error.code().is(number)
}

/// A list of statistics that libvirt allocated.
struct RecordList(*mut sys::virDomainStatsRecordPtr);

impl Drop for RecordList {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: libvirt wrote this list, and nothing borrows from it any more.
            unsafe { sys::virDomainStatsRecordListFree(self.0) };
        }
    }
}

/// Copies a record. Fields of other kinds than whole numbers are left out.
///
/// # Safety
///
/// `record` must point to a record that libvirt filled.
unsafe fn own(record: sys::virDomainStatsRecordPtr) -> Result<Record, Error> {
    // SAFETY: the caller's promise; a record holds a valid handle and `nparams` fields.
    let (id, name, start, fields) = unsafe {
        let record = &*record;
        let count = usize::try_from(record.nparams).unwrap_or(0);
        let fields =
            if record.params.is_null() { &[] } else { slice::from_raw_parts(record.params, count) };
        (id_of(record.dom), name_of(record.dom), sys::virDomainGetID(record.dom), fields)
    };
    let (Some(id), Some(name)) = (id, name) else {
        return Err(Error::last_error());
    };
    let mut owned = Record::new(id, &name);
    // libvirt's "no number", of a VM that was shut off in between.
    owned.start = Some(start).filter(|start| *start != c_uint::MAX);
    for field in fields {
        // SAFETY: libvirt ends each field's name with a zero, and its type says which value is set.
        let (key, value) = unsafe { (CStr::from_ptr(field.field.as_ptr()), number(field)) };
        if let (Ok(key), Some(value)) = (key.to_str(), value) {
            owned.note(key, value);
        }
    }
    Ok(owned)
}

/// # Safety
///
/// The type of `field` must say which of its values is set.
unsafe fn number(field: &sys::virTypedParameter) -> Option<u64> {
    // SAFETY: the caller's promise.
    unsafe {
        match u32::try_from(field.type_).ok()? {
            sys::VIR_TYPED_PARAM_INT => u64::try_from(field.value.i).ok(),
            sys::VIR_TYPED_PARAM_UINT => Some(u64::from(field.value.ui)),
            sys::VIR_TYPED_PARAM_LLONG => u64::try_from(field.value.l).ok(),
            sys::VIR_TYPED_PARAM_ULLONG => Some(field.value.ul),
            _ => None,
        }
    }
}

/// # Safety
///
/// `domain` must be a valid handle.
unsafe fn id_of(domain: sys::virDomainPtr) -> Option<VmId> {
    let mut bytes = [0; 16];
    // SAFETY: the caller's promise; a UUID has 16 bytes.
    let read = unsafe { sys::virDomainGetUUID(domain, bytes.as_mut_ptr()) };
    (read == 0).then_some(VmId::from_bytes(bytes))
}

/// # Safety
///
/// `domain` must be a valid handle.
unsafe fn name_of(domain: sys::virDomainPtr) -> Option<String> {
    // SAFETY: the caller's promise; the name belongs to the handle and is copied at once.
    unsafe {
        let name: *const c_char = sys::virDomainGetName(domain);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}

type Generic = unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void);
type Lifecycle =
    unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, c_int, *mut c_void) -> c_int;
type Device =
    unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *const c_char, *mut c_void);
type Balloon =
    unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_ulonglong, *mut c_void);

// The callbacks run on the thread of the event loop. They read the VM's UUID, which is at hand in
// the handle, and push into a bounded queue: nothing that could block, and nothing that panics.

unsafe extern "C" fn on_lifecycle(
    _connection: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    let event: fn(VmId) -> Event = match (u32::try_from(event), u32::try_from(detail)) {
        (Ok(sys::VIR_DOMAIN_EVENT_STOPPED), _) => Event::Stopped,
        (Ok(sys::VIR_DOMAIN_EVENT_STARTED), _)
        // Where it goes on is not where it was, or not when.
        | (
            Ok(sys::VIR_DOMAIN_EVENT_RESUMED),
            Ok(sys::VIR_DOMAIN_EVENT_RESUMED_MIGRATED | sys::VIR_DOMAIN_EVENT_RESUMED_FROM_SNAPSHOT),
        )
        | (
            Ok(sys::VIR_DOMAIN_EVENT_SUSPENDED),
            Ok(sys::VIR_DOMAIN_EVENT_SUSPENDED_RESTORED | sys::VIR_DOMAIN_EVENT_SUSPENDED_FROM_SNAPSHOT),
        ) => Event::Started,
        _ => return 0,
    };
    // SAFETY: libvirt passes a valid handle and the reference that `watch_event` registered.
    unsafe { tell(domain, opaque, event) };
    0
}

unsafe extern "C" fn on_reboot(
    _connection: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    opaque: *mut c_void,
) {
    // SAFETY: as in `on_lifecycle`. A reboot loads the balloon driver anew, as a start does.
    unsafe { tell(domain, opaque, Event::Started) };
}

unsafe extern "C" fn on_device(
    _connection: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    _alias: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: as in `on_lifecycle`.
    unsafe { tell(domain, opaque, Event::Rebuilt) };
}

unsafe extern "C" fn on_balloon(
    _connection: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    actual_kib: c_ulonglong,
    opaque: *mut c_void,
) {
    // SAFETY: as in `on_lifecycle`.
    unsafe {
        tell(domain, opaque, |vm| Event::Actual { vm, kib: actual_kib });
    };
}

unsafe extern "C" fn on_close(
    _connection: sys::virConnectPtr,
    _reason: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: this is the reference that `watch_close` registered, given back only later.
    unsafe { &*opaque.cast::<Signals>() }.close();
}

/// # Safety
///
/// `domain` must be a valid handle and `opaque` a registered reference.
unsafe fn tell(domain: sys::virDomainPtr, opaque: *mut c_void, event: impl Fn(VmId) -> Event) {
    // SAFETY: the caller's promise.
    let (signals, vm) = unsafe { (&*opaque.cast::<Signals>(), id_of(domain)) };
    if let Some(vm) = vm {
        signals.push(event(vm));
    }
}

/// # Safety
///
/// `opaque` must come from `Arc::<Signals>::into_raw`, and be given back only once.
unsafe extern "C" fn release(opaque: *mut c_void) {
    // SAFETY: the caller's promise.
    drop(unsafe { Arc::from_raw(opaque.cast_const().cast::<Signals>()) });
}

/// Seconds between two probes of a silent line, and how many it may miss: cut after 20 s.
const KEEPALIVE: (i32, u32) = (5, 3);
const MONITOR: c_uint = sys::VIR_DOMAIN_CONTROL_ERROR_REASON_MONITOR;
const WAKE_MILLIS: c_int = 5_000;
