//! Reservations in the database of the operator's will: those that are open, and the last that are
//! over.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use agentd_core::{
    bytes::ByteCount,
    policy::VmKey,
    reserve::{Reservation, ReservationId},
};
use rusqlite::{Connection, Row, params};

use super::will::{from_nanos, nonsense, to_i64, to_nanos};
use crate::control::{Actor, Ending, Reservations, Reserved};

/// Makes the table.
pub(super) const MIGRATION: &str = "
    CREATE TABLE reservation (
        id INTEGER PRIMARY KEY,
        min INTEGER NOT NULL, max INTEGER NOT NULL,
        vm TEXT,
        actor TEXT NOT NULL, peer TEXT NOT NULL, time INTEGER NOT NULL, reason TEXT NOT NULL,
        request_id TEXT NOT NULL,
        expires_at INTEGER NOT NULL,
        ending TEXT, ended_at INTEGER, handed_to TEXT, handed_to_name TEXT
    ) STRICT;
";

/// Keeps one, and forgets the oldest of too many that are over.
pub(super) fn save(db: &mut Connection, reserved: &Reserved) -> rusqlite::Result<()> {
    let Reservation { id, min, max, vm } = &reserved.reservation;
    let (ending, ended_at) = reserved.end.as_ref().map(|(how, at)| (how, to_nanos(*at))).unzip();
    let handed_to = match ending {
        Some(Ending::HandedOver { vm, name }) => Some((vm.to_string(), name.to_string())),
        Some(Ending::Expired | Ending::Released) | None => None,
    };
    let (handed_to, name) = handed_to.unzip();
    let Actor { id: actor, peer, time } = &reserved.actor;
    let db = db.transaction()?;
    db.execute(
        PUT,
        params![
            to_i64(id.0),
            to_i64(min.as_u64()),
            to_i64(max.as_u64()),
            vm.as_ref().map(ToString::to_string),
            actor,
            peer,
            to_nanos(*time),
            reserved.reason,
            reserved.request_id,
            to_nanos(reserved.expires_at),
            ending.map(Ending::name),
            ended_at,
            handed_to,
            name
        ],
    )?;
    db.execute(PRUNE, params![i64::try_from(Reservations::ENDED).unwrap_or(i64::MAX)])?;
    db.commit()
}

/// Takes one back that nobody was told of.
pub(super) fn forget(db: &Connection, id: ReservationId) -> rusqlite::Result<()> {
    db.execute("DELETE FROM reservation WHERE id = ?1", params![to_i64(id.0)])?;
    Ok(())
}

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// All that could be read, those that are over after the others, each by number.
    pub(super) reserved: Vec<Reserved>,
    /// The numbers of those that could not.
    pub(super) unread: Vec<i64>,
    /// The highest number of all.
    pub(super) last: u64,
    /// Why, in words; `None` where all could be read.
    pub(super) why: Option<String>,
}

/// All that are kept. One that cannot be read is left out, and told: it holds up nothing else.
pub(super) fn load(db: &Connection) -> Kept {
    let rows = || -> rusqlite::Result<Vec<_>> {
        let mut query = db.prepare(GET)?;
        let rows = query.query_map([], |row| Ok((row.get::<_, i64>("id")?, read(row))))?;
        rows.collect()
    };
    let rows = match rows() {
        Ok(rows) => rows,
        Err(error) => return Kept { why: Some(error.to_string()), ..Kept::default() },
    };
    let (count, mut kept) = (rows.len(), Kept::default());
    for (id, row) in rows {
        kept.last = kept.last.max(id.unsigned_abs());
        match row {
            Ok(own) => kept.reserved.push(own),
            Err(error) => {
                let first = || format!("reservation {id}: {error}");
                kept.why.get_or_insert_with(first);
                kept.unread.push(id);
            }
        }
    }
    let unread = kept.unread.len();
    kept.why = kept.why.map(|first| format!("{unread} of {count}, the first: {first}"));
    kept
}

/// Takes those away that could not be read.
pub(super) fn forget_unread(db: &mut Connection, unread: &[i64]) -> rusqlite::Result<()> {
    let db = db.transaction()?;
    for id in unread {
        db.execute("DELETE FROM reservation WHERE id = ?1", params![id])?;
    }
    db.commit()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Reserved> {
    let bytes =
        |index| row.get::<_, i64>(index).map(|bytes| ByteCount::bytes(bytes.unsigned_abs()));
    let vm: Option<String> = row.get("vm")?;
    Ok(Reserved {
        reservation: Reservation {
            id: ReservationId(row.get::<_, i64>("id")?.unsigned_abs()),
            min: bytes("min")?,
            max: bytes("max")?,
            vm: vm.as_deref().map(VmKey::from),
        },
        actor: Actor {
            id: row.get("actor")?,
            peer: row.get("peer")?,
            time: from_nanos(row.get("time")?),
        },
        reason: row.get("reason")?,
        request_id: row.get("request_id")?,
        expires_at: from_nanos(row.get("expires_at")?),
        expires: Duration::ZERO,
        filled: false,
        end: read_end(row)?,
    })
}

fn read_end(row: &Row<'_>) -> rusqlite::Result<Option<(Ending, SystemTime)>> {
    let Some(ending) = row.get::<_, Option<String>>("ending")? else { return Ok(None) };
    let how = match ending.as_str() {
        "expired" => Ending::Expired,
        "released" => Ending::Released,
        "handed_over" => {
            let (vm, name): (String, String) = (row.get("handed_to")?, row.get("handed_to_name")?);
            let vm = vm.parse().map_err(|_| nonsense(format!("\"{vm}\" is no UUID")))?;
            Ending::HandedOver { vm, name: Arc::from(name) }
        }
        other => return Err(nonsense(format!("\"{other}\" is no end of a reservation"))),
    };
    Ok(Some((how, from_nanos(row.get("ended_at")?))))
}

const PUT: &str = "INSERT OR REPLACE INTO reservation VALUES
    (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
/// By number, and not by the wall clock, which may go back.
const GET: &str = "SELECT * FROM reservation ORDER BY ending IS NOT NULL, id";
/// Of those that are over, all but the last: the highest number stays, so that none is used again.
const PRUNE: &str = "DELETE FROM reservation WHERE id IN (
    SELECT id FROM reservation WHERE ending IS NOT NULL
    ORDER BY id DESC LIMIT -1 OFFSET ?1)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{control::Storage as _, store::Will};

    fn reserved(id: u64, end: Option<(Ending, SystemTime)>) -> Reserved {
        let time = |seconds| SystemTime::UNIX_EPOCH + Duration::new(seconds, 123);
        let size = ByteCount::gib(2);
        Reserved {
            reservation: Reservation {
                id: ReservationId(id),
                min: size,
                max: size.saturating_add(ByteCount::bytes(id)),
                vm: Some("db7").filter(|_| id.is_multiple_of(2)).map(VmKey::from),
            },
            actor: Actor { id: "uid:0".to_owned(), peer: "unix".to_owned(), time: time(id) },
            reason: "start db7".to_owned(),
            request_id: format!("request {id}"),
            expires_at: time(1000),
            expires: Duration::ZERO,
            filled: false,
            end,
        }
    }

    fn ended(id: u64, how: Ending) -> Reserved {
        reserved(id, Some((how, SystemTime::UNIX_EPOCH + Duration::from_secs(2000 + id))))
    }

    #[test]
    fn all_of_them_are_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let vm = "00000000-0000-0000-0000-000000000007".parse().unwrap();
        let name = Arc::from("db7");
        let all = [
            reserved(4, None),
            reserved(5, None),
            ended(1, Ending::Released),
            ended(2, Ending::Expired),
            ended(3, Ending::HandedOver { vm, name }),
        ];
        let mut will = Will::open(dir.path(), false);
        for own in &all {
            will.save_reservation(own).unwrap();
        }
        will.save_reservation(&reserved(6, None)).unwrap();
        will.forget_reservation(ReservationId(6)).unwrap();
        drop(will);
        assert_eq!(Will::open(dir.path(), false).load().unwrap().reservations, all);
    }

    #[test]
    fn only_the_last_are_kept_of_those_that_are_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut will = Will::open(dir.path(), false);
        will.save_reservation(&reserved(1, None)).unwrap();
        let most = u64::try_from(Reservations::ENDED).unwrap();
        for id in 2..most + 12 {
            will.save_reservation(&ended(id, Ending::Released)).unwrap();
        }
        let kept = will.load().unwrap().reservations;
        let ids: Vec<u64> = kept.iter().map(|own| own.reservation.id.0).collect();
        assert_eq!(ids, [1].into_iter().chain(12..most + 12).collect::<Vec<_>>());
    }

    #[test]
    fn a_clock_that_goes_back_has_no_number_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut will = Will::open(dir.path(), false);
        let most = u64::try_from(Reservations::ENDED).unwrap();
        for id in 1..=most {
            will.save_reservation(&ended(id, Ending::Released)).unwrap();
        }
        let early = Some((Ending::Released, SystemTime::UNIX_EPOCH + Duration::from_secs(5)));
        will.save_reservation(&reserved(most + 1, early)).unwrap();
        let kept = will.load().unwrap().reservations;
        let ids: Vec<u64> = kept.iter().map(|own| own.reservation.id.0).collect();
        assert_eq!(ids, (2..=most + 1).collect::<Vec<_>>());
    }

    /// A database of before there were any, and one with a line that says nothing.
    #[test]
    fn an_older_database_is_brought_up_to_date_and_nonsense_holds_up_nothing() {
        let dir = tempfile::tempdir().unwrap();
        drop(Will::open(dir.path(), false));
        let db = Connection::open(dir.path().join("agentd.db")).unwrap();
        db.execute_batch("DROP TABLE reservation; PRAGMA user_version = 1").unwrap();
        drop(db);
        let mut will = Will::open(dir.path(), true);
        will.save_reservation(&reserved(1, None)).unwrap();
        will.save_reservation(&ended(2, Ending::Expired)).unwrap();
        drop(will);
        let db = Connection::open(dir.path().join("agentd.db")).unwrap();
        db.execute("UPDATE reservation SET ending = 'lost' WHERE id = 2", []).unwrap();
        drop(db);
        let mut will = Will::open(dir.path(), true);
        let saved = will.load().unwrap();
        assert_eq!((saved.reservations, saved.lost), (vec![reserved(1, None)], None));
        assert_eq!(saved.last_reservation, 2);
        let unread = saved.unread_reservations.unwrap();
        let told = "1 of 2, the first: reservation 2: ";
        assert!(unread.starts_with(told) && unread.contains("\"lost\" is no end"), "{unread}");
        // It is told until somebody sees to it.
        assert!(will.load().unwrap().unread_reservations.is_some());
        will.save_reservation(&reserved(3, None)).unwrap();
        will.forget_unread().unwrap();
        will.forget_unread().unwrap();
        let saved = will.load().unwrap();
        assert_eq!((saved.reservations.len(), saved.unread_reservations), (2, None));
    }
}
