//! A policy as a TOML file, with the keys of `memctl policy set` or those of `[policy]` in
//! agentd.toml. What the file does not name has its default. Pure.
//!
//! ```toml
//! algorithm = "working-set"
//! host-reserve = "1GiB"
//! [working-set]
//! lead = "5s"
//! [vm.db1]
//! min = "4GiB"
//! ```

use std::fmt::Write as _;

use agentd_proto::v1;

use crate::dto::Policy;
use crate::policy_keys::{Key, Value, values};
use crate::quantity::Units;

/// The policy that a file says, or what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<v1::Policy, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().and_then(|span| text.get(..span.start));
        let line = line.map(|before| format!("line {}: ", before.matches('\n').count() + 1));
        format!("{}{}", line.unwrap_or_default(), error.message())
    })?;
    let mut policy = v1::Policy::default();
    // The agent's own file has all of it under one head, and beside it what is no policy.
    let whole = table.get("policy").and_then(toml::Value::as_table).unwrap_or(&table);
    for (name, value) in whole {
        let name = name.replace('_', "-");
        match (name.as_str(), value) {
            ("vm" | "vms", toml::Value::Table(vms)) => {
                for (vm, own) in vms {
                    assign_vm(&mut policy, vm, own)?;
                }
            }
            (group, toml::Value::Table(keys)) => {
                for (key, value) in keys {
                    let key = format!("{group}.{}", key.replace('_', "-"));
                    assign(&mut policy, &key, value)?;
                }
            }
            (key, value) => assign(&mut policy, key, value)?,
        }
    }
    Ok(policy)
}

fn assign_vm(policy: &mut v1::Policy, vm: &str, own: &toml::Value) -> Result<(), String> {
    let own = own.as_table().ok_or_else(|| format!("vm.{vm} is to be a table: [vm.{vm}]"))?;
    for (field, value) in own {
        assign(policy, &format!("vm.{vm}.{field}"), value)?;
    }
    Ok(())
}

fn assign(policy: &mut v1::Policy, key: &str, value: &toml::Value) -> Result<(), String> {
    let parsed = Key::parse(key)?;
    if let Key::WholeVm(_) = parsed {
        return Err(format!("\"{key}\" is not a key of a VM: those are min, max, weight, pinned"));
    }
    let text = match value {
        toml::Value::String(text) if text.is_empty() => "unset".to_owned(),
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Boolean(flag) => flag.to_string(),
        toml::Value::Float(_)
        | toml::Value::Datetime(_)
        | toml::Value::Array(_)
        | toml::Value::Table(_) => {
            return Err(format!("{key}: {value} is neither text nor a number"));
        }
    };
    parsed.assign(policy, &text).map_err(|what| format!("{key}: {what}"))
}

/// A file that says `policy`; a value that is the default is commented out.
pub(crate) fn text(policy: &Policy, defaults: &Policy) -> String {
    let (values, theirs) = (values(policy), values(defaults));
    let mut text = String::new();
    let mut head = String::new();
    for (key, value) in values {
        let typed = key.to_string();
        let (table, field) = match &key {
            Key::Vm(name, field) => (format!("vm.{}", toml_key(name)), field.word().to_owned()),
            Key::General(_) | Key::WholeVm(_) => match typed.split_once('.') {
                Some((table, field)) => (table.to_owned(), field.to_owned()),
                None => (String::new(), typed),
            },
        };
        if table != head {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "\n[{table}]");
            head = table;
        }
        let is_default = theirs.contains(&(key, value.clone()));
        let comment = if is_default { "# " } else { "" };
        let _ = writeln!(text, "{comment}{field} = {}", toml_value(&value));
    }
    text
}

/// A name of a VM as a key of TOML.
fn toml_key(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match name.chars().all(plain) && !name.is_empty() {
        true => name.to_owned(),
        false => toml::Value::from(name).to_string(),
    }
}

fn toml_value(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Unset => "\"\"".to_owned(),
        // Exact, so that it reads back as the same.
        Value::Size(bytes) => toml::Value::from(exact(*bytes)).to_string(),
        Value::Time(_) | Value::Word(_) => toml::Value::from(value.text(Units::Iec)).to_string(),
    }
}

/// The size in the largest unit that it is a whole number of.
fn exact(bytes: u64) -> String {
    let fits = |(unit, _): &&(u64, &str)| bytes != 0 && bytes.is_multiple_of(*unit);
    let unit = UNITS.iter().find(fits);
    unit.map_or_else(|| format!("{bytes}B"), |(unit, name)| format!("{}{name}", bytes / unit))
}

const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "algorithm = \"working-set\"\nhost-reserve = \"1GiB\"\n\
                        [working-set]\nlead = \"1.5s\"\nheadroom-percent = 20\n\
                        [vm.\"db.1\"]\nmin = \"100000KiB\"\npinned = true\n";

    #[test]
    fn what_is_written_reads_back_as_the_same() {
        let policy = parse(FILE).unwrap();
        let (dto, defaults) = (Policy::from(policy.clone()), Policy::default());
        let written = text(&dto, &defaults);
        assert_eq!(parse(&written).unwrap(), policy, "{written}");
        // A default is a comment: it follows the default.
        let text = text(&dto, &dto);
        assert!(text.lines().all(|l| l.is_empty() || l.starts_with(['#', '['])), "{text}");
    }

    #[test]
    fn the_agents_own_section_is_a_policy() {
        let section = format!(
            "[policy]\n{}",
            FILE.replace('-', "_").replace("working_set\"", "working-set\"")
        );
        let section = section.replace("[working_set]", "[policy.working_set]");
        let section = section.replace("[vm.\"db.1\"]", "[policy.vms.\"db.1\"]");
        assert_eq!(parse(&section), parse(FILE));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_key_or_line() {
        for (text, said) in [
            ("floor = 64", "floor: \"64\" has no unit"),
            ("flor = \"64MiB\"", "did you mean floor?"),
            ("[vm.a]\ncolour = 1", "is not a key of a VM"),
            ("[vm]\na = 1", "vm.a is to be a table"),
            ("floor = [1]", "is neither text nor a number"),
            ("a = 1\nb = =", "line 2: "),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
