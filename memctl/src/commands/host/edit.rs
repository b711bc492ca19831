//! Changes of one's own configuration: hosts that come, go and are called otherwise.

use super::{AddArgs, UseArgs, entry, show};
use crate::address::Address;
use crate::commands::Ended;
use crate::config::{HostEntry, check_name};
use crate::config_edit::{self, NewHost, change};
use crate::exit::Exit;
use crate::failure::{Code, Failure};
use crate::session::Session;

pub(super) fn add(args: &AddArgs, session: &Session) -> Ended {
    for name in std::iter::once(&args.name).chain(&args.groups) {
        check_name(name).map_err(Failure::usage)?;
    }
    // One of the system's may be called the same: one's own then takes its place.
    if session.config.host(&args.name).is_some_and(|host| is_own(host, session)) {
        return Err(taken(&args.name).into());
    }
    let address = Address::parse(&args.uri)?;
    let (identity, server_name) = session.global.identity.named()?;
    let file = session.places.own.clone().unwrap_or_default();
    let entry = HostEntry { name: args.name.clone(), address, identity, server_name, file };
    let new = NewHost { entry: &entry, groups: &args.groups, current: args.current };
    let path = session.places.own.as_deref();
    let config = change(path, |text| config_edit::added(text, &new))?;
    show(&config, session, |name| name == args.name)
}

pub(super) fn rename(old: &str, new: &str, session: &Session) -> Ended {
    check_name(new).map_err(Failure::usage)?;
    own_entry(old, session)?;
    if session.config.host(new).is_some() {
        return Err(taken(new).into());
    }
    let path = session.places.own.as_deref();
    let config = change(path, |text| config_edit::renamed(text, old, new))?;
    show(&config, session, |name| name == new)
}

pub(super) fn remove(name: &str, session: &Session) -> Ended {
    own_entry(name, session)?;
    change(session.places.own.as_deref(), |text| config_edit::removed(text, name))?;
    show(&session.config, session, |known| known == name)?;
    session.output.notice(&format!("removed {name}"))?;
    Ok(Exit::Done)
}

pub(super) fn use_hosts(args: &UseArgs, session: &Session) -> Ended {
    for name in &args.names {
        match name.strip_prefix('@') {
            Some(group) if session.config.groups.contains_key(group) => {}
            Some(group) => return Err(no_group(group, session).into()),
            None => entry(name, &session.config).map(|_| ())?,
        }
    }
    let path = session.places.own.as_deref();
    change(path, |text| config_edit::with_current(text, &args.names))?;
    let told = match args.names.as_slice() {
        [] => {
            "without a --host, the local agent is asked now, or what the system's file says".into()
        }
        names => format!("without a --host, memctl asks {} now", names.join(", ")),
    };
    session.output.notice(&told)?;
    Ok(Exit::Done)
}

pub(super) fn group(group: &str, hosts: &[String], session: &Session) -> Ended {
    check_name(group).map_err(Failure::usage)?;
    for name in hosts {
        entry(name, &session.config)?;
    }
    let named = format!("@{group}");
    if hosts.is_empty() && session.config.current.contains(&named) {
        let what = format!("{named} is among the hosts that are asked when none is named");
        let failure = Failure::new(Code::FailedPrecondition, "GROUP_IN_USE", what);
        return Err(failure.hint("memctl host use HOST.. (or --none) names others first").into());
    }
    if hosts.is_empty() && !session.config.groups.contains_key(group) {
        return Err(no_group(group, session).into());
    }
    let path = session.places.own.as_deref();
    change(path, |text| config_edit::with_group(text, group, hosts))?;
    session.output.notice(&match hosts {
        [] => format!("removed {named}"),
        hosts => format!("{named} is {}", hosts.join(", ")),
    })?;
    Ok(Exit::Done)
}

/// Refuses to change what stands in the system's file.
fn own_entry(name: &str, session: &Session) -> Result<(), Failure> {
    let entry = entry(name, &session.config)?;
    if is_own(entry, session) {
        return Ok(());
    }
    let file = entry.file.display();
    let what = format!("host \"{name}\" stands in {file}, which is for all who use this machine");
    let failure = Failure::new(Code::FailedPrecondition, "SYSTEM_HOST", what);
    Err(failure.hint(format!("root changes it there: memctl --config {file} host ...")))
}

fn is_own(entry: &HostEntry, session: &Session) -> bool {
    session.places.own.as_ref() == Some(&entry.file)
}

fn taken(name: &str) -> Failure {
    let hint = format!("memctl host remove {name} first, or take another name");
    let what = format!("there is a host \"{name}\" already");
    Failure::new(Code::AlreadyExists, "HOST_EXISTS", what).hint(hint)
}

fn no_group(group: &str, session: &Session) -> Failure {
    let known: Vec<&str> = session.config.groups.keys().map(String::as_str).collect();
    let what = format!("no group \"{group}\" is configured");
    Failure::new(Code::NotFound, "UNKNOWN_GROUP", what).hint(match known.as_slice() {
        [] => "memctl host group GROUP HOST.. makes one".to_owned(),
        known => format!("configured: {}", known.join(", ")),
    })
}
