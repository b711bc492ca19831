//! Changes of one's own configuration: hosts that come, go and are called otherwise.

use std::path::Path;

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
    let copied = |group: &String| {
        let of_system = session.config.system_groups.get(group).filter(|g| !g.is_shadowed);
        of_system.map(|of_system| of_system.hosts.clone()).unwrap_or_default()
    };
    let groups: Vec<(String, Vec<String>)> =
        args.groups.iter().map(|group| (group.clone(), copied(group))).collect();
    let new = NewHost { entry: &entry, groups: &groups, current: args.current };
    let path = session.places.own.as_deref();
    let config = change(path, |text| config_edit::added(text, &new))?;
    for (group, _) in groups.iter().filter(|(_, begin)| !begin.is_empty()) {
        let file = system_file(session);
        session.output.notice(&format!(
            "@{group} is your own now: the hosts of the one in {file}, and {}",
            args.name
        ))?;
    }
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
    if hosts.is_empty() {
        may_go(group, session)?;
    }
    let path = session.places.own.as_deref();
    change(path, |text| config_edit::with_group(text, group, hosts))?;
    let done = match hosts {
        [] => format!("removed @{group}"),
        hosts => format!("@{group} is {}", hosts.join(", ")),
    };
    let of_system = session.config.system_groups.get(group).map(|of_system| {
        let (file, members) = (system_file(session), of_system.hosts.join(", "));
        match hosts {
            [] => format!("; the one in {file} counts again: {members}"),
            _ => format!(", for you; it takes the place of the one in {file}: {members}"),
        }
    });
    session.output.notice(&format!("{done}{}", of_system.unwrap_or_default()))?;
    Ok(Exit::Done)
}

/// Refuses to remove a group that is not there, is not one's own, or that would be missed.
fn may_go(group: &str, session: &Session) -> Result<(), Failure> {
    let config = &session.config;
    let named = format!("@{group}");
    if !config.groups.contains_key(group) {
        return Err(no_group(group, session));
    }
    let Some(of_system) = config.system_groups.get(group) else {
        if config.current.contains(&named) {
            let what = format!("{named} is among the hosts that are asked when none is named");
            let failure = Failure::new(Code::FailedPrecondition, "GROUP_IN_USE", what);
            return Err(failure.hint("memctl host use HOST.. (or --none) names others first"));
        }
        return Ok(());
    };
    if of_system.is_shadowed {
        return Ok(());
    }
    let file = system_file(session);
    let what = format!("{named} stands in {file}, which is for all who use this machine");
    let failure = Failure::new(Code::FailedPrecondition, "SYSTEM_GROUP", what);
    Err(failure.hint(format!(
        "root removes it there: memctl --config {file} host group {group}; memctl host group \
         {group} HOST.. makes one of your own that takes its place"
    )))
}

fn system_file(session: &Session) -> String {
    session
        .places
        .system
        .as_deref()
        .unwrap_or_else(|| Path::new("the system's file"))
        .display()
        .to_string()
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
