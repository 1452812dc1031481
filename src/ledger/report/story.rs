//! The whole story of an order, a shipment or a capture, as the ledger has it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::params;
use uuid::Uuid;

use super::dead_letters;
use super::fees::{self, Fee};
use super::given::{self, To};
use super::{Found, IdPrefix, Report, ReportError, find_ids, required_instant};
use crate::capture::dead_letter::DeadLetter;
use crate::capture::event::ResolvedBy;
use crate::capture::plan::Working;
use crate::capture::policy::Policy;
use crate::capture::records::{
    Authorization, AuthorizationKey, Capture, CaptureKey, Order, OrderKey, Shipment, ShipmentKey,
};
use crate::capture::states::{CaptureState, ShipmentState};
use crate::clock::Timestamp;
use crate::ids::{CaptureId, EventId, OrderId, ShipmentId};
use crate::ledger::codec::{corrupt, instant};
use crate::ledger::report::Standing;
use crate::ledger::rows::{ORDER_BY_ID, ORDER_BY_ROW, read_authorization, read_capture, read_order, read_shipment};
use crate::ledger::session::{self, IntoValues, Row, Session};
use crate::money::Money;

/// Whose story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// An order with all its shipments.
    Order(OrderId),
    /// One shipment of an order.
    Shipment(OrderId, ShipmentId),
    /// One capture with the shipments that it covers.
    Capture(CaptureId),
}

/// A story: the records as they stand, and what led there.
#[derive(Debug, Clone)]
pub struct Story {
    /// The order.
    pub order: Order,
    /// The authorizations that its shipments are bound to, and the order's newest.
    pub authorizations: Vec<Authorization>,
    /// The shipments, in the order of acceptance.
    pub shipments: Vec<ShipmentStory>,
    /// What the order owed beyond its shipments' amounts, by number.
    pub fees: Vec<FeeStory>,
    /// The captures, in the order of planning.
    pub captures: Vec<CaptureStory>,
    /// What was set aside about these shipments, without messages, the first first.
    pub dead_letters: Vec<DeadLetter>,
}

/// A shipment in a story.
#[derive(Debug, Clone)]
pub struct ShipmentStory {
    /// Its record.
    pub shipment: Shipment,
    /// The events about it, in the order in which they were written. Of an earlier generation only
    /// the outcome is here.
    pub events: Vec<WrittenEvent>,
    /// How its amount came about. `None` where it has none, where its sender worked it out, and where
    /// the plan as it stands no longer leads to it.
    pub working: Option<Working>,
}

/// What an order owed beyond its shipments' amounts, after a cancellation or a revision.
#[derive(Debug, Clone)]
pub struct FeeStory {
    /// Its number in the order, from 1.
    pub number: u32,
    /// How much.
    pub amount: Money,
    /// Its capture; `None` where it was refused by our own rules, and never came to one.
    pub capture: Option<CaptureKey>,
    /// The id of the incoming event; `None` where the end of a grace brought it.
    pub caused_by: Option<String>,
    /// The events about it, in the order in which they were written.
    pub events: Vec<WrittenEvent>,
    /// How its amount came about. `None` where the plan as it stands no longer leads to it.
    pub working: Option<Working>,
}

/// A capture in a story.
#[derive(Debug, Clone)]
pub struct CaptureStory {
    /// Its record.
    pub capture: Capture,
    /// The shipments that it covers.
    pub shipments: Vec<ShipmentId>,
    /// What its attempts and looks showed.
    pub history: Vec<HistoryLine>,
    /// Retention has taken that.
    pub is_pruned: bool,
}

/// What an attempt or a look showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryLine {
    /// The attempt it belongs to.
    pub attempt: u32,
    /// What kind of evidence came.
    pub what: String,
    /// In words.
    pub detail: String,
    /// When.
    pub at: Timestamp,
}

/// An event that was written to the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenEvent {
    /// Its id, the same in every repetition.
    pub id: EventId,
    /// Its type.
    pub kind: String,
    /// When it became true.
    pub written_at: Timestamp,
    /// When the broker confirmed it.
    pub published_at: Option<Timestamp>,
}

impl Story {
    /// The authorization with this key, where it is part of the story.
    pub fn authorization(&self, key: AuthorizationKey) -> Option<&Authorization> {
        self.authorizations.iter().find(|record| record.key == key)
    }

    /// The capture with this key, where it is part of the story.
    pub fn capture(&self, key: CaptureKey) -> Option<&Capture> {
        self.captures.iter().map(|story| &story.capture).find(|capture| capture.key == key)
    }

    /// Where a shipment's money stands. `None` where its capture is not part of the story, which a
    /// story that the ledger told has.
    pub fn standing(&self, shipment: &Shipment) -> Option<Standing> {
        match (shipment.state, shipment.capture) {
            (ShipmentState::Awaiting, _) => Some(Standing::Awaiting),
            (ShipmentState::Waiting, _) => Some(Standing::Waiting),
            (ShipmentState::Refused, _) => Some(Standing::Refused),
            (ShipmentState::Covered | ShipmentState::Settled, None) => Some(Standing::Zero),
            (ShipmentState::Covered | ShipmentState::Settled, Some(capture)) => {
                self.capture(capture).and_then(Standing::of_capture)
            }
        }
    }
}

impl Standing {
    fn of_capture(capture: &Capture) -> Option<Self> {
        if capture.corrected_at.is_some() {
            Some(Self::Corrected)
        } else if capture.is_held() {
            Some(Self::Held)
        } else {
            Self::parse(capture.state.as_str())
        }
    }
}

impl Report {
    /// The capture whose id begins so.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn find_capture(&self, prefix: IdPrefix) -> Result<Found<CaptureId>, ReportError> {
        let sql = "SELECT DISTINCT capture_id FROM captures WHERE capture_id BETWEEN ?1 AND ?2
                   ORDER BY capture_id LIMIT ?3";
        self.ask(|session| Ok(find_ids(session, sql, prefix)?.map(CaptureId::from_uuid)))
    }

    /// The whole story, or `None` where the ledger knows nothing of it. The policy says what amounts
    /// must be multiples of, which the ledger does not keep.
    ///
    /// # Errors
    /// [`ReportError::Read`].
    pub fn story(&self, about: &About, policy: &Policy) -> Result<Option<Story>, ReportError> {
        self.ask(|session| tell(session, about, policy))
    }
}

fn tell(session: &Session, about: &About, policy: &Policy) -> session::Result<Option<Story>> {
    let Some((order, shipments, mut captures)) = main_records(session, about)? else { return Ok(None) };
    let mut fees = fees::of_order(session, &order)?;
    let mut workings = given::workings(session, &order, &fees, policy)?;
    if matches!(about, About::Order(_)) {
        captures.extend(fees.iter().filter_map(|fee| fee.capture.clone()));
        captures.sort_by_key(|capture| (session.when(capture.planned_at), capture.key));
    } else {
        let is_meant = |fee: &Fee| fee.capture.as_ref().is_some_and(|its| captures.iter().any(|it| it.key == its.key));
        fees.retain(is_meant);
    }
    let authorizations = authorizations(session, &order, &shipments)?;
    let mut dead_letters = dead_letters::of_order(session, &order.id)?;
    if !matches!(about, About::Order(_)) {
        let is_meant = |id: &ShipmentId| shipments.iter().any(|shipment| shipment.id == *id);
        dead_letters.retain(|letter| letter.shipment.as_ref().is_some_and(is_meant));
    }
    let captures = captures.into_iter().map(|capture| capture_story(session, capture));
    let captures: Vec<_> = captures.collect::<session::Result<_>>()?;
    let shipments = shipments.into_iter().map(|shipment| {
        let events = events(session, &order.id, &shipment, &captures)?;
        let working = workings.remove(&To::Shipment(shipment.key));
        Ok(ShipmentStory { shipment, events, working })
    });
    let shipments = shipments.collect::<session::Result<_>>()?;
    let fees = fees.into_iter().map(|fee| fee_story(fee, &mut workings)).collect();
    Ok(Some(Story { order, authorizations, shipments, fees, captures, dead_letters }))
}

fn fee_story(fee: Fee, workings: &mut BTreeMap<To, Working>) -> FeeStory {
    let Fee { number, amount, caused_by, capture, events, .. } = fee;
    let working = workings.remove(&To::Fee(number));
    FeeStory { number, amount, capture: capture.map(|capture| capture.key), caused_by, events, working }
}

type MainRecords = (Order, Vec<Shipment>, Vec<Capture>);

fn main_records(session: &Session, about: &About) -> session::Result<Option<MainRecords>> {
    let (order, shipments) = match about {
        About::Order(id) => {
            let Some(order) = order_by_id(session, id)? else { return Ok(None) };
            let shipments = shipments(session, "s.order_row = ?1", [order.key.row()])?;
            (order, shipments)
        }
        About::Shipment(order, id) => {
            let Some(order) = order_by_id(session, order)? else { return Ok(None) };
            let of = params![order.key.row(), id.as_str()];
            let shipments = shipments(session, "s.order_row = ?1 AND s.shipment_id = ?2", of)?;
            if shipments.is_empty() {
                return Ok(None);
            }
            (order, shipments)
        }
        About::Capture(id) => {
            let Some(capture) = capture_by_id(session, *id)? else { return Ok(None) };
            // A replayed shipment has moved on to another capture.
            let covered = "s.order_row = ?1 AND (s.capture_row = ?2 OR s.shipment_row = ?3)";
            let of = params![capture.order.row(), capture.key.row(), capture.shipment().map(ShipmentKey::row)];
            let shipments = shipments(session, covered, of)?;
            return Ok(Some((order_by_key(session, capture.order)?, shipments, vec![capture])));
        }
    };
    let captures = captures(session, &shipments)?;
    Ok(Some((order, shipments, captures)))
}

fn order_by_id(session: &Session, id: &OrderId) -> session::Result<Option<Order>> {
    session.find(ORDER_BY_ID, [id.as_str()], |row| read_order(row))
}

fn order_by_key(session: &Session, key: OrderKey) -> session::Result<Order> {
    session.one(ORDER_BY_ROW, [key.row()], |row| read_order(row))
}

fn shipments(session: &Session, which: &str, of: impl IntoValues) -> session::Result<Vec<Shipment>> {
    let arrival = session.pick("s.shipment_row", "s.accepted_at, s.shipment_row");
    let sql = format!(
        "SELECT a.currency, s.*, m.body, m.origin FROM shipments s
         LEFT JOIN authorizations a USING (authorization_row) LEFT JOIN messages m USING (shipment_row)
         WHERE {which} ORDER BY {arrival}"
    );
    session.query(&sql, of, |row| read_shipment(row))
}

const SELECT_CAPTURE: &str = "SELECT a.currency, c.* FROM captures c JOIN authorizations a USING (authorization_row)";

fn capture_by_id(session: &Session, id: CaptureId) -> session::Result<Option<Capture>> {
    let sql = format!("{SELECT_CAPTURE} WHERE c.capture_id = ?1 ORDER BY c.capture_row DESC LIMIT 1");
    session.find(&sql, params![id.as_uuid().as_bytes()], |row| read_capture(row))
}

/// The captures of these shipments, those of earlier generations too.
fn captures(session: &Session, shipments: &[Shipment]) -> session::Result<Vec<Capture>> {
    let mut keys: BTreeSet<CaptureKey> = shipments.iter().filter_map(|shipment| shipment.capture).collect();
    for replayed in shipments.iter().filter(|shipment| shipment.generation > 0) {
        let sql = "SELECT capture_row FROM captures WHERE shipment_row = ?1";
        keys.extend(session.query(sql, [replayed.key.row()], |row| Ok(CaptureKey::new(row.get(0)?)))?);
    }
    let sql = format!("{SELECT_CAPTURE} WHERE c.capture_row = ?1");
    let capture = |key: CaptureKey| session.one(&sql, [key.row()], |row| read_capture(row));
    let mut captures: Vec<Capture> = keys.into_iter().map(capture).collect::<session::Result<_>>()?;
    captures.sort_by_key(|capture| (session.when(capture.planned_at), capture.key));
    Ok(captures)
}

fn authorizations(session: &Session, order: &Order, shipments: &[Shipment]) -> session::Result<Vec<Authorization>> {
    let mut keys: BTreeSet<_> = shipments.iter().filter_map(|shipment| shipment.authorization).collect();
    keys.extend(order.newest_authorization);
    let sql = "SELECT * FROM authorizations WHERE authorization_row = ?1";
    keys.into_iter().map(|key| session.one(sql, [key.row()], |row| read_authorization(row))).collect()
}

fn capture_story(session: &Session, capture: Capture) -> session::Result<CaptureStory> {
    let sql = "SELECT shipment_id FROM shipments WHERE order_row = ?1 AND (capture_row = ?2 OR shipment_row = ?3)
               ORDER BY shipment_row";
    let of = params![capture.order.row(), capture.key.row(), capture.shipment().map(ShipmentKey::row)];
    let shipments = session.query(sql, of, |row| {
        ShipmentId::parse(row.get_ref(0)?.as_str()?).map_err(|_| corrupt("a shipment's id is not an id"))
    })?;
    let sql = "SELECT attempt, what, detail, at FROM history WHERE capture_row = ?1 ORDER BY number";
    let mut history: Vec<HistoryLine> = session.query(sql, [capture.key.row()], |row| {
        Ok(HistoryLine {
            attempt: row.get("attempt")?,
            what: row.get("what")?,
            detail: row.get("detail")?,
            at: required_instant(row, "at")?,
        })
    })?;
    let up_to = session.number("SELECT up_to FROM pruned WHERE what = 'captures'", params![])?;
    let may_be_pruned = history.is_empty() && capture.state.is_terminal() && capture.key.row() <= up_to;
    let had_none = capture.resolved_by == Some(ResolvedBy::Response) && capture.progress.attempts == 1;
    let is_pruned = may_be_pruned && !had_none;
    if !is_pruned {
        history.extend(last_line(&capture).filter(|last| history.iter().all(|line| line.at != last.at)));
    }
    Ok(CaptureStory { capture, shipments, history, is_pruned })
}

/// That it was captured stands in its own row, and is no line of history there, save where more is to be
/// told of it.
fn last_line(capture: &Capture) -> Option<HistoryLine> {
    let resolved_by = capture.resolved_by.filter(|_| capture.state == CaptureState::Captured)?;
    let (attempt, detail) = (capture.progress.attempts, format!("by {}", resolved_by.as_str()));
    Some(HistoryLine { attempt, what: "captured".to_owned(), detail, at: capture.settled_at? })
}

/// The events about a shipment. Outcomes have an index. In a file a deferral and a correction have none,
/// but rows are numbered in the order of writing there: the one lies between the shipment and its capture
/// or outcome, the other after the shipment, and only where the capture was corrected.
fn events(
    session: &Session,
    order: &OrderId,
    shipment: &Shipment,
    captures: &[CaptureStory],
) -> session::Result<Vec<WrittenEvent>> {
    let columns = "SELECT e.event_row, e.event_id, e.kind, o.written_at, o.published_at
                   FROM events e JOIN outbox o USING (event_row)";
    let read = |row: &Row<'_>| Ok((row.get::<_, i64>("event_row")?, read_event(row)?));
    let sql = format!("{columns} WHERE e.outcome_of = ?1");
    let mut events: Vec<(i64, WrittenEvent)> = session.query(&sql, [shipment.key.row()], read)?;

    let which = session.pick("e.event_row > ?1 AND e.event_row < ?2", "e.outcome_of IS NULL");
    let sql = format!("{columns} WHERE {which} AND e.event_id = ?3 ORDER BY e.event_row LIMIT 1");
    let find = |kind: &str, before: i64| {
        let id = EventId::of_shipment(kind, order, &shipment.id, shipment.generation);
        session.find(&sql, params![shipment.key.row(), before, id.as_uuid().as_bytes()], read)
    };
    let capture = shipment.capture.map(CaptureKey::row);
    let end = capture.into_iter().chain(events.iter().map(|(row, _)| *row)).min();
    let was_bound = shipment.state != ShipmentState::Awaiting;
    let deferred = if was_bound { find("capture.deferred", end.unwrap_or(i64::MAX))? } else { None };
    let is_corrected = captures
        .iter()
        .any(|story| story.capture.corrected_at.is_some() && shipment.capture == Some(story.capture.key));
    let corrected = if is_corrected { find("capture.corrected", i64::MAX)? } else { None };
    events.extend(deferred.into_iter().chain(corrected));
    events.sort_by_key(|(row, event)| (session.when(event.written_at), *row));
    Ok(events.into_iter().map(|(_, event)| event).collect())
}

pub(super) fn read_event(row: &Row<'_>) -> rusqlite::Result<WrittenEvent> {
    Ok(WrittenEvent {
        id: EventId::from_uuid(Uuid::from_bytes(row.get("event_id")?)),
        kind: row.get("kind")?,
        written_at: required_instant(row, "written_at")?,
        published_at: instant(row, "published_at")?,
    })
}
