//! Replication slots on a publisher that live and die with the caller's transaction.
//!
//! A new slot is first a temporary one: if the transaction, the backend or the server ends in any
//! other way than by COMMIT, the connection closes and the publisher drops it. Just before the
//! commit record it is copied to its permanent name.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use pgmig_core::lsn::Lsn;
use pgmig_core::secret::shown;
use pgmig_core::wire::Row;
use pgmig_core::{name, sql};
use pgrx::PgLogLevel;
use pgrx::prelude::*;

use crate::argument::Text;
use crate::caller::Caller;
use crate::conninfo;
use crate::error::{Error, Kind, Result, raise, report, required};
use crate::ffi::catalog::require_writable;
use crate::ffi::{transaction, wait};
use crate::publisher::{self, Failure, Publisher};
use crate::secrecy;
use crate::transaction::{Action, Plan, defer, plans_for_slot};

/// How long dropping slots may take once the transaction is committed.
const DROP_TIME: Duration = Duration::from_secs(10);
/// How long undoing may take after a rollback: the client waits for its cancel.
const UNDO_TIME: Duration = Duration::from_millis(500);

/// A slot that becomes permanent with the commit.
pub struct NewSlot {
    publisher: Publisher,
    temporary: String,
    name: String,
    failover: bool,
    /// Where the slot's changes begin: tells it from another one of the same name.
    lsn: Lsn,
    /// Whether the permanent slot may exist: from before the publisher is asked for it until it
    /// refuses.
    made: bool,
}

impl NewSlot {
    /// Creates the temporary slot. Returns it and the LSN from which it is consistent.
    pub fn create(mut publisher: Publisher, name: &str, failover: bool) -> Result<(Self, Lsn)> {
        name::check_slot(name)?;
        if failover && publisher.major() < 17 {
            return Err(Error::new(
                Kind::FeatureNotSupported,
                "failover slots need PostgreSQL 17 or later on the publisher",
            )
            .hint("Remove the option \"failover\"."));
        }
        refuse_planned(&mut publisher, name, &[Plan::Create, Plan::Drop])?;
        if exists(&mut publisher, name)? {
            return Err(Error::new(
                Kind::DuplicateObject,
                format!("replication slot \"{name}\" already exists on the publisher"),
            )
            .hint("Choose another name, drop it, or use it as it is with create_slot = false."));
        }
        if transaction::has_id() && publisher.is_own_cluster()? {
            return Err(own_cluster(name));
        }
        let temporary = format!("pgmig_tmp_{:016x}", RandomState::new().hash_one(name));
        let rows = publisher.query(&format!(
            "SELECT lsn FROM pg_catalog.pg_create_logical_replication_slot({}, 'pgoutput', true)",
            sql::literal(&temporary)
        ))?;
        let lsn = rows.first().and_then(|row| row.get(0)?.parse().ok());
        let lsn = lsn.ok_or_else(publisher::nonsense)?;
        let name = name.to_owned();
        let slot = Self { publisher, temporary, name, failover, lsn, made: false };
        Ok((slot, lsn))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Makes it permanent.
    pub fn keep(&mut self) -> Result<()> {
        if self.made {
            return Ok(());
        }
        self.made = true;
        let copy = format!(
            "SELECT 1 FROM pg_catalog.pg_copy_logical_replication_slot({}, {}, false)",
            sql::literal(&self.temporary),
            sql::literal(&self.name)
        );
        self.publisher.ask(&copy).map_err(|failure| {
            self.made = !matches!(failure, Failure::Refused { .. });
            failure.into_error()
        })?;
        if self.failover {
            // The copy does not carry it. A replication command, since 17.
            self.publisher.query(&format!(
                "ALTER_REPLICATION_SLOT {} (FAILOVER true)",
                sql::ident(&self.name)
            ))?;
        }
        Ok(())
    }

    /// After a rollback: nothing to do unless the permanent slot may have been made.
    pub fn give_up(self) {
        if !self.made {
            return;
        }
        let deadline = Instant::now() + UNDO_TIME;
        // The connection may be in the middle of an answer: use another.
        let dropped = self
            .publisher
            .reconnect_quietly(deadline)
            .map_err(|error| format!("{}.", error.message))
            .and_then(|mut second| {
                end_backend(&mut second, self.publisher.backend_pid(), deadline)?;
                self.drop_if_ours(&mut second, deadline)
            });
        if let Err(reason) = dropped {
            warn_left(&self.name, &reason);
        }
    }

    /// Another session may have made one of this name, which then is the reason for the rollback.
    fn drop_if_ours(
        &self,
        publisher: &mut Publisher,
        deadline: Instant,
    ) -> std::result::Result<(), String> {
        let look = format!(
            "SELECT 1 FROM pg_catalog.pg_replication_slots \
             WHERE slot_name OPERATOR(pg_catalog.=) {}::pg_catalog.name AND NOT active \
               AND confirmed_flush_lsn OPERATOR(pg_catalog.=) '{}'::pg_catalog.pg_lsn",
            sql::literal(&self.name),
            self.lsn
        );
        match publisher.query_quietly(&look, deadline).map_err(Failure::reason)?.is_empty() {
            true => Ok(()),
            false => drop_one(publisher, &self.name, deadline),
        }
    }
}

/// Ends a backend of ours on the publisher, and waits until it is gone: a copy that it has received
/// but not yet made would otherwise be made after the slot was looked for.
fn end_backend(
    publisher: &mut Publisher,
    pid: i32,
    deadline: Instant,
) -> std::result::Result<(), String> {
    let end = format!("SELECT pg_catalog.pg_terminate_backend({pid})");
    publisher.query_quietly(&end, deadline).map_err(Failure::reason)?;
    let look =
        format!("SELECT 1 FROM pg_catalog.pg_sleep(0.01), pg_catalog.pg_stat_get_activity({pid})");
    while !publisher.query_quietly(&look, deadline).map_err(Failure::reason)?.is_empty() {}
    Ok(())
}

/// Slots that go once the transaction is committed.
pub struct DoomedSlots {
    pub publisher: Publisher,
    pub names: Vec<String>,
}

impl DoomedSlots {
    /// Before the commit record: is the publisher still there, as far as the socket tells? An error
    /// rolls everything back. Catalogs are locked by now, so nothing is waited for.
    pub fn check(&mut self) -> Result<()> {
        if self.publisher.is_alive() { Ok(()) } else { Err(Failure::Lost.into_error()) }
    }

    pub fn drop_now(mut self) {
        let deadline = drop_deadline();
        for name in &self.names {
            if let Err(reason) = drop_one(&mut self.publisher, name, deadline) {
                warn_left(name, &reason);
            }
        }
    }
}

/// `statement_timeout` counts here too, but leaves time for one try.
fn drop_deadline() -> Instant {
    let now = Instant::now();
    let own = now + DROP_TIME;
    wait::statement_deadline().map_or(own, |statement| own.min(statement.max(now + UNDO_TIME)))
}

/// Drops a slot once the walsender that uses it has left. A slot that is gone already is no failure.
fn drop_one(
    publisher: &mut Publisher,
    name: &str,
    deadline: Instant,
) -> std::result::Result<(), String> {
    let command = format!("DROP_REPLICATION_SLOT {} WAIT", sql::ident(name));
    match publisher.query_quietly(&command, deadline) {
        Ok(_) => Ok(()),
        Err(failure) if failure.is_missing_object() => Ok(()),
        Err(failure) => Err(Failure::reason(failure)),
    }
}

fn warn_left(name: &str, reason: &str) {
    report(
        PgLogLevel::WARNING,
        Error::new(
            Kind::ConnectionLost,
            format!("replication slot \"{name}\" may be left on the publisher"),
        )
        .detail(reason)
        .hint(format!(
            "Run this there, or the slot keeps its WAL: SELECT pg_drop_replication_slot({});",
            sql::literal(name)
        )),
    );
}

pub fn exists(publisher: &mut Publisher, name: &str) -> Result<bool> {
    let rows = publisher.query(&format!(
        "SELECT 1 FROM pg_catalog.pg_replication_slots \
         WHERE slot_name OPERATOR(pg_catalog.=) {}::pg_catalog.name",
        sql::literal(name)
    ))?;
    Ok(!rows.is_empty())
}

/// Up to where a slot's changes were confirmed, if nobody is using it.
pub fn resting(publisher: &mut Publisher, name: &str) -> Result<Option<Lsn>> {
    let rows = publisher.query(&format!(
        "SELECT confirmed_flush_lsn FROM pg_catalog.pg_replication_slots \
         WHERE slot_name OPERATOR(pg_catalog.=) {}::pg_catalog.name AND NOT active",
        sql::literal(name)
    ))?;
    Ok(rows.first().and_then(|row| row.get(0)?.parse().ok()))
}

/// Whether there is such a slot. An error where it is none that a new subscription can safely use.
pub fn is_there_and_fit(publisher: &mut Publisher, name: &str) -> Result<bool> {
    // A slot can be invalidated without a loss of WAL, and its wal_status is then "reserved" up to 16.
    let is_invalid = match publisher.major() {
        17.. => "s.invalidation_reason IS NOT NULL",
        16 => "s.conflicting",
        _ => "false",
    };
    let rows = publisher.query(&format!(
        "SELECT s.plugin, s.database, s.database OPERATOR(pg_catalog.=) pg_catalog.current_database(), \
                s.wal_status OPERATOR(pg_catalog.=) 'lost' OR {is_invalid}, s.active_pid, s.temporary \
           FROM pg_catalog.pg_replication_slots s \
          WHERE s.slot_name OPERATOR(pg_catalog.=) {}::pg_catalog.name",
        sql::literal(name)
    ))?;
    match rows.first().map(unfit) {
        None => Ok(false),
        Some(None) => Ok(true),
        Some(Some(why)) => Err(Error::new(
            Kind::ObjectNotInPrerequisiteState,
            format!("replication slot \"{name}\" of the publisher cannot be used"),
        )
        .detail(why)
        .hint("Choose another name for the slot, or drop that slot on the publisher.")),
    }
}

/// Why no new subscription can use this slot.
fn unfit(slot: Row) -> Option<String> {
    match [0, 1, 2, 3, 4, 5].map(|column| slot.get(column)) {
        [None, ..] => Some("It is a physical slot.".to_owned()),
        [Some(plugin), ..] if plugin != "pgoutput" => {
            Some(format!("Its output plugin is \"{}\", not \"pgoutput\".", shown(plugin)))
        }
        [_, Some(database), Some("f"), ..] => {
            Some(format!("It belongs to database \"{}\".", shown(database)))
        }
        [.., Some("t"), _, _] => {
            Some("The publisher has invalidated it: it no longer has what is needed.".to_owned())
        }
        [.., Some(pid), _] => Some(format!("Process {} of the publisher uses it.", shown(pid))),
        [.., Some("t")] => Some("It is a temporary slot.".to_owned()),
        _ => None,
    }
}

/// What this transaction is already to do to a slot of this publisher.
pub fn plans(publisher: &mut Publisher, name: &str) -> Result<Vec<Plan>> {
    let mut plans = Vec::new();
    for (plan, mark) in plans_for_slot(name) {
        if publisher.is_server_of(&mark)? {
            plans.push(plan);
        }
    }
    Ok(plans)
}

/// The publisher does not show yet what waits for the commit: what is done after a look at it could
/// undo that, or be undone.
pub fn refuse_planned(publisher: &mut Publisher, name: &str, refused: &[Plan]) -> Result<()> {
    refuse(name, &plans(publisher, name)?, refused)
}

pub fn refuse(name: &str, plans: &[Plan], refused: &[Plan]) -> Result<()> {
    match plans.iter().find(|plan| refused.contains(plan)) {
        Some(plan) => Err(planned(name, *plan)),
        None => Ok(()),
    }
}

fn planned(name: &str, plan: Plan) -> Error {
    let what = match plan {
        Plan::Create => "created",
        Plan::Drop => "dropped",
    };
    Error::new(
        Kind::ObjectNotInPrerequisiteState,
        format!("slot \"{name}\" is already to be {what} by this transaction"),
    )
    .detail("That happens on the publisher when the transaction commits.")
    .hint("Commit first.")
}

fn own_cluster(name: &str) -> Error {
    Error::new(
        Kind::ObjectNotInPrerequisiteState,
        "cannot create a replication slot in the cluster of this very transaction",
    )
    .detail(
        "A new slot waits for every open transaction that has an id. This one has it, since it has \
         written something, so the slot would wait for ever.",
    )
    .hint(format!(
        "Make the slot in a transaction of its own, or before this one writes anything: \
         SELECT pg_create_logical_replication_slot({}, 'pgoutput'); then use it with create_slot = false.",
        sql::literal(name)
    ))
}

/// Creates a permanent pgoutput slot on the publisher with the commit of this transaction.
#[pg_extern(sql = false)]
fn create_replication_slot(
    conninfo: Text,
    slot: Text,
) -> TableIterator<'static, (name!(slot_name, String), name!(lsn, i64))> {
    let _concealed = secrecy::conceal(&conninfo, &[&slot]);
    TableIterator::once(raise(create(conninfo, slot)))
}

fn create(text: Text, slot: Text) -> Result<(String, i64)> {
    let caller = Caller::current()?;
    let (text, name) = (required("conninfo", text)?, required("slot", slot)?);
    name::check_slot(name)?;
    let conninfo = conninfo::given(text, caller)?;
    require_writable(c"create_replication_slot()");
    let (slot, lsn) = NewSlot::create(Publisher::connect(&conninfo, caller)?, name, false)?;
    defer(Action::KeepSlot(slot));
    // A pg_lsn is eight bytes by value, as an i64 is.
    Ok((name.to_owned(), lsn.0.cast_signed()))
}

/// Drops a slot of the publisher once this transaction is committed.
#[pg_extern(sql = false)]
fn drop_replication_slot(conninfo: Text, slot: Text) {
    let _concealed = secrecy::conceal(&conninfo, &[&slot]);
    raise(drop_slot(conninfo, slot))
}

fn drop_slot(text: Text, slot: Text) -> Result<()> {
    let caller = Caller::current()?;
    let (text, name) = (required("conninfo", text)?, required("slot", slot)?);
    name::check_slot(name)?;
    let conninfo = conninfo::given(text, caller)?;
    require_writable(c"drop_replication_slot()");
    let mut publisher = Publisher::connect(&conninfo, caller)?;
    refuse_planned(&mut publisher, name, &[Plan::Create])?;
    if !exists(&mut publisher, name)? {
        return Err(missing(name));
    }
    defer(Action::DropSlots(DoomedSlots { publisher, names: vec![name.to_owned()] }));
    Ok(())
}

pub fn missing(name: &str) -> Error {
    Error::new(
        Kind::UndefinedObject,
        format!("replication slot \"{name}\" does not exist on the publisher"),
    )
}
