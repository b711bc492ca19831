//! The `[authz]` table of a config: who of this host has which role. What a role may do is the
//! server's to say.

use std::fmt;

use super::section;
use crate::fields::{Field, FieldError, Fields};

/// Who of this host has which role. Whoever is in none of the lists has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthzConfig {
    /// Users that are admins.
    pub local_admin_uids: Vec<u32>,
    /// Groups whose members are operators.
    pub local_operator_groups: Vec<Group>,
    /// Groups whose members are readers.
    pub local_reader_groups: Vec<Group>,
}

/// A group of this host. One that is not there has no members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    /// By its number.
    Id(u32),
    /// By its name.
    Name(String),
}

impl AuthzConfig {
    pub(super) fn read(&mut self, root: &Fields<'_>) -> Result<(), FieldError> {
        let Some(fields) = section(root, "authz", &KEYS)? else { return Ok(()) };
        if let Some(uids) = fields.get(KEYS[0]) {
            let uids = uids.items(MOST)?;
            self.local_admin_uids = uids.iter().map(Field::count).collect::<Result<_, _>>()?;
        }
        let groups = [&mut self.local_operator_groups, &mut self.local_reader_groups];
        for (key, groups) in [KEYS[1], KEYS[2]].into_iter().zip(groups) {
            if let Some(list) = fields.get(key) {
                *groups = list.items(MOST)?.iter().map(read_group).collect::<Result<_, _>>()?;
            }
        }
        Ok(())
    }
}

impl Default for AuthzConfig {
    fn default() -> Self {
        let group = |name: &str| vec![Group::Name(name.to_owned())];
        Self {
            local_admin_uids: vec![0],
            local_operator_groups: group("agentd"),
            local_reader_groups: group("libvirt"),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

fn read_group(field: &Field<'_>) -> Result<Group, FieldError> {
    let Some(name) = field.value().as_str() else {
        let wrong = |_| field.error("must be a group's name in quotes, or its number");
        return field.count().map(Group::Id).map_err(wrong);
    };
    let is_sane = (1..=LONGEST).contains(&name.len()) && !name.contains(char::is_control);
    if !is_sane {
        return Err(field.error(format!("a group's name has 1 to {LONGEST} bytes in one line")));
    }
    Ok(Group::Name(name.to_owned()))
}

const KEYS: [&str; 3] = ["local_admin_uids", "local_operator_groups", "local_reader_groups"];
/// Users or groups in a list.
const MOST: usize = 64;
/// Bytes of a group's name: more than any system allows.
const LONGEST: usize = 256;
