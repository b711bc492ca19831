//! [`Directory`]: which role a user of this host has by the groups that they are in.
//!
//! The system's user database may be another machine that does not answer. So it is asked on a thread
//! that may block, one question at a time, and what it said counts for a minute.

use std::{
    collections::BTreeMap,
    ffi::CString,
    sync::{Arc, Mutex, PoisonError},
};

use nix::unistd::{self, Gid, Uid, User};
use tokio::{
    sync::Semaphore,
    task,
    time::{self, Instant},
};

use super::Role;
use crate::{
    config::{AuthzConfig, Group},
    server::limits,
};

/// The role that a user has, with the group that gives it; `None` where no group does.
pub(super) type Membership = Option<(Role, Group)>;

/// A user, and the group of their process.
type Who = (u32, Option<u32>);

/// The user database, and what it said lately.
#[derive(Debug)]
pub(super) struct Directory {
    database: Database,
    said: Arc<Mutex<BTreeMap<Who, Said>>>,
    asking: Arc<Semaphore>,
}

/// What the system says of users and groups; tests say something else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Database {
    /// The groups that a user is in.
    pub(super) groups_of: fn(u32) -> Vec<u32>,
    /// The number of a group; `None` where there is no such group.
    pub(super) number_of: fn(&str) -> Option<u32>,
}

#[derive(Debug)]
struct Said {
    /// By these rules.
    rules: Arc<AuthzConfig>,
    membership: Membership,
    at: Instant,
}

/// The database did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unanswered;

impl Directory {
    pub(super) fn new(database: Database) -> Self {
        Self { database, said: Arc::default(), asking: Arc::new(Semaphore::new(1)) }
    }

    /// The role of a user. Their process is in the group `gid` too, as the kernel vouches for it.
    pub(super) async fn membership(
        &self,
        rules: &Arc<AuthzConfig>,
        uid: u32,
        gid: Option<u32>,
    ) -> Result<Membership, Unanswered> {
        if let Some(membership) = self.said(rules, (uid, gid)) {
            return Ok(membership);
        }
        let asked = async {
            let place = Arc::clone(&self.asking).acquire_owned().await.ok()?;
            // Somebody may have asked the same meanwhile.
            if let Some(membership) = self.said(rules, (uid, gid)) {
                return Some(membership);
            }
            let (database, rules, said) =
                (self.database, Arc::clone(rules), Arc::clone(&self.said));
            let answer = task::spawn_blocking(move || {
                let _place = place;
                let membership = database.membership(&rules, uid, gid);
                note(
                    &said,
                    (uid, gid),
                    Said { rules, membership: membership.clone(), at: Instant::now() },
                );
                membership
            });
            answer.await.ok()
        };
        // What is not over goes on by itself, and keeps the place until it is.
        time::timeout(limits::DIRECTORY, asked).await.ok().flatten().ok_or(Unanswered)
    }

    /// Warns of groups in the rules that are not on this host. The number of the first one that is, of
    /// the role that may do most.
    pub(super) async fn look_for_groups(&self, rules: Arc<AuthzConfig>) -> Option<u32> {
        let place = Arc::clone(&self.asking).acquire_owned().await.ok()?;
        let database = self.database;
        let looked = task::spawn_blocking(move || {
            let _place = place;
            let lists = [
                ("local_operator_groups", &rules.local_operator_groups),
                ("local_reader_groups", &rules.local_reader_groups),
            ];
            let all =
                lists.iter().flat_map(|(key, list)| list.iter().map(move |group| (key, group)));
            let there = all.filter_map(|(key, group)| {
                let number = database.number(group);
                if number.is_none() {
                    tracing::warn!(
                        "there is no group {group} on this host: {key} in [authz] gives nobody a \
                         role by it until there is"
                    );
                }
                number
            });
            there.collect::<Vec<_>>().first().copied()
        });
        // It ends early only where the server does.
        looked.await.ok().flatten()
    }

    fn said(&self, rules: &Arc<AuthzConfig>, who: Who) -> Option<Membership> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = said.get(&who)?;
        let counts = Arc::ptr_eq(&said.rules, rules) && said.at.elapsed() < limits::DIRECTORY_KEPT;
        counts.then(|| said.membership.clone())
    }
}

impl Database {
    /// That of this host.
    pub(super) const SYSTEM: Self = Self { groups_of, number_of };

    fn number(&self, group: &Group) -> Option<u32> {
        match group {
            Group::Id(id) => Some(*id),
            Group::Name(name) => (self.number_of)(name),
        }
    }

    fn membership(&self, rules: &AuthzConfig, uid: u32, gid: Option<u32>) -> Membership {
        let mut groups = (self.groups_of)(uid);
        groups.extend(gid);
        let is_in = |group: &&Group| self.number(group).is_some_and(|id| groups.contains(&id));
        let of = |role, list: &[Group]| Some((role, list.iter().find(is_in)?.clone()));
        of(Role::Operator, &rules.local_operator_groups)
            .or_else(|| of(Role::Reader, &rules.local_reader_groups))
    }
}

fn note(said: &Mutex<BTreeMap<Who, Said>>, who: Who, new: Said) {
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    if said.len() >= limits::IDENTITIES {
        // Asked again, which costs a moment.
        said.clear();
    }
    said.insert(who, new);
}

/// None for a user that the database does not know: the group of their process counts alone.
fn groups_of(uid: u32) -> Vec<u32> {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { return Vec::new() };
    let Ok(name) = CString::new(user.name) else { return Vec::new() };
    let groups = unistd::getgrouplist(&name, user.gid).unwrap_or_else(|_| vec![user.gid]);
    groups.into_iter().map(Gid::as_raw).collect()
}

fn number_of(name: &str) -> Option<u32> {
    let group = unistd::Group::from_name(name).ok().flatten()?;
    Some(group.gid.as_raw())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn rules(operators: &str, readers: u32) -> Arc<AuthzConfig> {
        Arc::new(AuthzConfig {
            local_admin_uids: Vec::new(),
            local_operator_groups: vec![Group::Name(operators.to_owned())],
            local_reader_groups: vec![Group::Id(readers)],
        })
    }

    /// User 7 is in 70 and 71, and "operators" is 70.
    const SMALL: Database = Database {
        groups_of: |uid| if uid == 7 { vec![70, 71] } else { Vec::new() },
        number_of: |name| (name == "operators").then_some(70),
    };

    #[test]
    fn the_group_of_the_most_role_counts_and_a_missing_one_for_nobody() {
        let said = |rules: &AuthzConfig, uid, gid| SMALL.membership(rules, uid, gid);
        let operators = Group::Name("operators".to_owned());
        let both = rules("operators", 71);
        assert_eq!(said(&both, 7, None), Some((Role::Operator, operators.clone())));
        assert_eq!(said(&rules("missing", 71), 7, None), Some((Role::Reader, Group::Id(71))));
        assert_eq!(said(&rules("missing", 72), 7, Some(1)), None);
        assert_eq!(said(&both, 8, None), None);
        // The group of the process counts as well.
        assert_eq!(said(&both, 8, Some(70)), Some((Role::Operator, operators)));
    }

    #[test]
    fn the_database_of_this_host_knows_root() {
        assert!((Database::SYSTEM.groups_of)(0).contains(&0));
        assert_eq!((Database::SYSTEM.number_of)("root"), Some(0));
        assert_eq!((Database::SYSTEM.number_of)("no such group"), None);
        assert_eq!((Database::SYSTEM.groups_of)(u32::MAX - 7), Vec::<u32>::new());
    }

    #[tokio::test]
    async fn what_was_said_counts_for_a_minute_and_by_the_rules_of_then() {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let groups_of = |_| {
            ASKED.fetch_add(1, Ordering::SeqCst);
            vec![70]
        };
        let directory = Directory::new(Database { groups_of, ..SMALL });
        let (first, second) = (rules("operators", 71), rules("operators", 71));
        for (rules, asked) in [(&first, 1), (&first, 1), (&second, 2)] {
            directory.membership(rules, 7, None).await.unwrap().unwrap();
            assert_eq!(ASKED.load(Ordering::SeqCst), asked);
        }
        for said in directory.said.lock().unwrap().values_mut() {
            said.at = said.at.checked_sub(limits::DIRECTORY_KEPT).unwrap();
        }
        directory.membership(&second, 7, None).await.unwrap().unwrap();
        assert_eq!(ASKED.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn the_first_group_that_is_there_is_found() {
        let directory = Directory::new(SMALL);
        assert_eq!(directory.look_for_groups(rules("operators", 71)).await, Some(70));
        assert_eq!(directory.look_for_groups(rules("missing", 71)).await, Some(71));
    }

    #[tokio::test]
    async fn a_database_that_hangs_is_not_waited_for() {
        let groups_of = |_| {
            std::thread::park_timeout(limits::DIRECTORY.saturating_mul(2));
            Vec::new()
        };
        let directory = Directory::new(Database { groups_of, ..SMALL });
        let asked = directory.membership(&rules("operators", 71), 7, None).await;
        assert_eq!(asked, Err(Unanswered));
    }
}
