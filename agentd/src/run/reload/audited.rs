//! A reload in the audit: who asked for it, what of the config counts otherwise by it, and what it did.

use std::{fmt::Display, path::Path};

use crate::{
    audit::{Asked, Call, Caller, Changes, Effect, Facts, Refused},
    config::{AuthzConfig, Config, TlsConfig},
    control::{Bounds, FieldChange, Rebased, Revision, changes},
};

/// A reload that was asked for by a signal: the kernel names the user who sent it.
pub(super) fn call(by: Option<u32>) -> Call {
    let who = by.map_or_else(|| NOBODY.to_owned(), |uid| format!("uid:{uid}"));
    let caller = Caller { who, ..Caller::default() };
    let (method, target) = (METHOD.to_owned(), TARGET.to_owned());
    Call { caller, method, target, ..Call::default() }
}

/// What would change: a policy of the file that a live one keeps out of force is named here, too.
pub(super) fn asked(in_force: &Revision, (before, after): (&Config, &Config)) -> Asked {
    let fields = would_change(before, after);
    Asked { before: revision(in_force), asked: Facts::new(), changes: Changes::of(&fields) }
}

/// What has changed.
pub(super) fn effect(rebased: &Rebased, (before, after): (&Config, &Config)) -> Effect {
    let mut fields = beside_policy(before, after);
    fields.extend(of_policy(changes(&rebased.before.policy, &rebased.after.policy)));
    Effect {
        before: Some(revision(&rebased.before)),
        after: revision(&rebased.after),
        changes: Changes::of(&fields),
    }
}

/// Why nothing has.
pub(super) fn refused(error: &impl Display) -> Refused {
    Refused { reason: super::CONFIG_REJECTED.to_owned(), detail: error.to_string() }
}

fn revision(revision: &Revision) -> Facts {
    let facts = [("revision", revision.number.to_string()), ("etag", revision.etag.clone())];
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn would_change(before: &Config, after: &Config) -> Vec<FieldChange> {
    let mut fields = beside_policy(before, after);
    fields.extend(of_policy(changes(&before.policy, &after.policy)));
    fields
}

fn of_policy(changes: Vec<FieldChange>) -> impl Iterator<Item = FieldChange> {
    let named =
        |change: FieldChange| FieldChange { path: format!("policy.{}", change.path), ..change };
    changes.into_iter().map(named)
}

/// What else counts live and is otherwise.
fn beside_policy(before: &Config, after: &Config) -> Vec<FieldChange> {
    let both = live(before).into_iter().zip(live(after));
    let differ = both.filter(|((_, old), (_, new))| old != new);
    let change =
        |((path, old), (_, new)): ((&str, _), _)| FieldChange { path: path.to_owned(), old, new };
    differ.map(change).collect()
}

/// Every key that counts live beside the policy, with its value in words.
fn live(config: &Config) -> Vec<(&'static str, String)> {
    let AuthzConfig { local_admin_uids, local_operator_groups, local_reader_groups } =
        &config.authz;
    let Bounds { floor, host_reserve, shrink_step, shrink_percent } = &config.bounds;
    let mut all = vec![
        ("authz.local_admin_uids", list(local_admin_uids)),
        ("authz.local_operator_groups", list(local_operator_groups)),
        ("authz.local_reader_groups", list(local_reader_groups)),
        ("bounds.floor", or_unset(floor.as_ref())),
        ("bounds.host_reserve", or_unset(host_reserve.as_ref())),
        ("bounds.shrink_step", or_unset(shrink_step.as_ref())),
        ("bounds.shrink_percent", or_unset(shrink_percent.as_ref())),
        ("log.level", config.log.level.to_string().to_lowercase()),
        ("shadow", shadow(config)),
    ];
    all.extend(tls(config.tls.as_ref()));
    all
}

fn tls(tls: Option<&TlsConfig>) -> [(&'static str, String); 6] {
    let file = |file: fn(&TlsConfig) -> Option<&Path>| {
        or_unset(tls.and_then(file).map(Path::display).as_ref())
    };
    let validity = tls.map(|tls| format!("{:?}", tls.client_validity));
    [
        ("tls.cert", file(|tls| Some(&tls.cert))),
        ("tls.key", file(|tls| Some(&tls.key))),
        ("tls.client_ca", file(|tls| Some(&tls.client_ca))),
        ("tls.client_crl", file(|tls| tls.client_crl.as_deref())),
        ("tls.client_deny", file(|tls| tls.client_deny.as_deref())),
        ("tls.client_validity", or_unset(validity.as_ref())),
    ]
}

/// How the shadow of a config differs from its policy.
fn shadow(config: &Config) -> String {
    let Some(variation) = &config.shadow else { return UNSET.to_owned() };
    match variation.apply(&config.policy) {
        Ok(varied) => list(&changes(&config.policy, &varied)),
        Err(error) => error.to_string(),
    }
}

fn list(items: &[impl Display]) -> String {
    let words = items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if words.is_empty() { "none".to_owned() } else { words }
}

fn or_unset(value: Option<&impl Display>) -> String {
    value.map_or_else(|| UNSET.to_owned(), ToString::to_string)
}

/// In the place of a method.
const METHOD: &str = "reload";
const TARGET: &str = "config";
/// Who sent a signal that no process has sent.
const NOBODY: &str = "uid:unknown";
/// A key that is not set, as in changes of the policy.
const UNSET: &str = "unset";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::changed;

    fn config(text: &str) -> Config {
        Config::parse("agentd.toml", text).unwrap()
    }

    /// What counts live is told of, whatever is added to it.
    #[test]
    fn every_key_that_counts_live_is_told_with_both_values() {
        let tls = |name: &str| {
            format!("[tls]\ncert = \"/{name}\"\nkey = \"/{name}\"\nclient_ca = \"/{name}\"\n")
        };
        let before = config(&tls("a"));
        let other = "[authz]\nlocal_admin_uids = [0, 7]\nlocal_reader_groups = []\n\
                     [bounds]\nfloor = \"64MiB\"\n[log]\nlevel = \"debug\"\n\
                     [shadow]\nfloor = \"80MiB\"\n[policy]\nfloor = \"70MiB\"\n";
        let after = config(&format!("{other}{}", tls("b")));
        let told: Vec<String> =
            would_change(&before, &after).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "authz.local_admin_uids 0 -> 0, 7",
                "authz.local_reader_groups libvirt -> none",
                "bounds.floor unset -> 64 MiB",
                "log.level info -> debug",
                "shadow unset -> floor_bytes 70 MiB -> 80 MiB",
                "tls.cert /a -> /b",
                "tls.key /a -> /b",
                "tls.client_ca /a -> /b",
                "policy.floor_bytes 64 MiB -> 70 MiB",
            ]
        );
        for key in changed(&before, &after).live {
            assert!(told.iter().any(|change| change.starts_with(key)), "{key}");
        }
    }
}
