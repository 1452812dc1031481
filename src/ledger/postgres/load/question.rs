//! What is asked of the tables for a group of commands, in one statement for each kind of thing.

use tokio_postgres::types::ToSql;

use super::Loader;

/// A kind of question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ledger::postgres) enum What {
    Restore,
    Lock,
    Orders,
    OrdersById,
    Authorizations,
    AuthorizationsByName,
    Shipments,
    ShipmentsById,
    Captures,
    Kept,
    Scope(Scope),
    Letters,
    Fees,
    Usages,
}

/// Rows that belong to an order or to an authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::ledger::postgres) enum Scope {
    /// Shipments of an order that wait for something to become known.
    Awaiting,
    /// Shipments of an order that wait to be captured with others.
    Waiting,
    /// Shipments of an order that ended without their money.
    Ended,
    /// Notices about an order that wait.
    Kept,
    /// The authorizations of an order.
    AuthorizationsOf,
    /// Captures of an authorization that are open.
    Open,
    /// Captures of an authorization that were closed by hand without an answer.
    Unresolved,
    /// All captures of an authorization.
    All,
    /// Shipments that are captured together on an authorization.
    Collected,
}

impl Scope {
    const ALL: [Self; 9] = [
        Self::Awaiting,
        Self::Waiting,
        Self::Ended,
        Self::Kept,
        Self::AuthorizationsOf,
        Self::Open,
        Self::Unresolved,
        Self::All,
        Self::Collected,
    ];

    const fn sql(self) -> &'static str {
        match self {
            Self::Awaiting => {
                "SELECT order_row, shipment_row FROM shipments WHERE order_row = ANY($1) AND state = 'awaiting'"
            }
            Self::Waiting => {
                "SELECT order_row, shipment_row FROM shipments WHERE order_row = ANY($1) AND state = 'waiting'"
            }
            Self::Ended => {
                "SELECT order_row, shipment_row FROM shipments WHERE order_row = ANY($1) AND reason IS NOT NULL"
            }
            Self::Kept => {
                "SELECT order_row, notice_row FROM kept_notices WHERE order_row = ANY($1) AND due_at IS NOT NULL"
            }
            Self::AuthorizationsOf => {
                "SELECT order_row, authorization_row FROM authorizations WHERE order_row = ANY($1)"
            }
            Self::Open => {
                "SELECT authorization_row, capture_row FROM captures WHERE authorization_row = ANY($1) AND is_open = 1"
            }
            Self::Unresolved => {
                "SELECT authorization_row, capture_row FROM captures
                 WHERE authorization_row = ANY($1) AND state = 'unresolved'"
            }
            Self::All => "SELECT authorization_row, capture_row FROM captures WHERE authorization_row = ANY($1)",
            Self::Collected => "SELECT collected_on, shipment_row FROM shipments WHERE collected_on = ANY($1)",
        }
    }
}

/// The locks of everything that is asked for at once, in the order of their rows, so that two workers do
/// not wait for each other. What these rows point to never changes, with one exception, the newest
/// authorization; where it has, the lock follows with the next round.
const LOCK: &str = "
    SELECT order_row FROM orders WHERE order_row = ANY(ARRAY(
      SELECT unnest($1::bigint[])
      UNION SELECT order_row FROM orders WHERE order_id = ANY($2::text[])
      UNION SELECT a.order_row FROM orders o JOIN authorizations a ON a.authorization_row = o.newest_authorization
        WHERE o.order_id = ANY($2::text[])
      UNION SELECT order_row FROM captures WHERE capture_row = ANY($3::bigint[])
      UNION SELECT a.order_row FROM captures c JOIN authorizations a USING (authorization_row)
        WHERE c.capture_row = ANY($3::bigint[])
      UNION SELECT order_row FROM authorizations WHERE authorization_row = ANY($4::bigint[])
      UNION SELECT a.order_row FROM unnest($5::text[], $6::text[]) AS w (account, reference)
        JOIN authorizations a USING (account, reference)
      UNION SELECT order_row FROM shipments WHERE shipment_row = ANY($7::bigint[])
      UNION SELECT order_row FROM kept_notices WHERE notice_row = ANY($8::bigint[])))
    ORDER BY order_row FOR UPDATE";

const SHIPMENTS: &str = "
    SELECT a.currency, s.*, m.body, m.origin FROM shipments s
    LEFT JOIN authorizations a USING (authorization_row)
    LEFT JOIN messages m USING (shipment_row) WHERE shipment_row = ANY($1)";

const SHIPMENTS_BY_ID: &str = "
    SELECT a.currency, s.*, m.body, m.origin
    FROM unnest($1::bigint[], $2::text[]) AS w (order_row, shipment_id)
    JOIN shipments s ON s.order_row = w.order_row AND s.shipment_id = w.shipment_id
    LEFT JOIN authorizations a ON a.authorization_row = s.authorization_row
    LEFT JOIN messages m ON m.shipment_row = s.shipment_row";

/// Dead letters by id, locked until the group is written: operators change them too.
pub(in crate::ledger::postgres) const DEAD_LETTERS: &str = "
    SELECT dead_letter_id, reason, path, message, provider_code, fingerprint, order_id, shipment_id, account,
    shipment_row, fee, generation, currency, amount, first_seen_at, last_seen_at, count, state, job_row, body, origin
    FROM dead_letters WHERE dead_letter_id = ANY($1) ORDER BY dead_letter_id FOR UPDATE";

impl What {
    pub(in crate::ledger::postgres) const fn sql(self) -> &'static str {
        match self {
            Self::Restore => "SELECT read_first_until FROM restores",
            Self::Lock => LOCK,
            Self::Orders => {
                "SELECT o.*, p.plan FROM orders o LEFT JOIN plans p USING (order_row) WHERE order_row = ANY($1)"
            }
            Self::OrdersById => {
                "SELECT o.*, p.plan FROM orders o LEFT JOIN plans p USING (order_row) WHERE order_id = ANY($1)"
            }
            Self::Authorizations => "SELECT * FROM authorizations WHERE authorization_row = ANY($1)",
            Self::AuthorizationsByName => {
                "SELECT a.* FROM unnest($1::text[], $2::text[]) AS w (account, reference)
                 JOIN authorizations a USING (account, reference)"
            }
            Self::Shipments => SHIPMENTS,
            Self::ShipmentsById => SHIPMENTS_BY_ID,
            Self::Captures => {
                "SELECT a.currency, c.* FROM captures c JOIN authorizations a USING (authorization_row)
                 WHERE capture_row = ANY($1)"
            }
            Self::Kept => "SELECT * FROM kept_notices WHERE notice_row = ANY($1)",
            Self::Scope(scope) => scope.sql(),
            Self::Letters => DEAD_LETTERS,
            Self::Usages => {
                "SELECT account, currency, hour, day FROM cap_usage WHERE account = ANY($1)
                 ORDER BY account, currency FOR UPDATE"
            }
            Self::Fees => {
                "SELECT c.order_row, c.fee, c.generation, c.capture_row
                 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS w (order_row, fee, generation)
                 JOIN captures c USING (order_row, fee, generation)"
            }
        }
    }
}

/// A question with its values.
pub(in crate::ledger::postgres) struct Question {
    pub(in crate::ledger::postgres) what: What,
    values: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Question {
    /// What counts against the caps of these accounts. Where there is none yet, the key keeps two workers apart.
    pub(super) fn usages(accounts: Vec<String>) -> Option<Self> {
        (!accounts.is_empty()).then(|| Self { what: What::Usages, values: one(accounts) })
    }

    pub(in crate::ledger::postgres) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|value| -> &(dyn ToSql + Sync) { &**value }).collect()
    }
}

type Values = Vec<Box<dyn ToSql + Sync + Send>>;

fn one(values: impl ToSql + Sync + Send + 'static) -> Values {
    vec![Box::new(values)]
}

fn two(one: impl ToSql + Sync + Send + 'static, other: impl ToSql + Sync + Send + 'static) -> Values {
    vec![Box::new(one), Box::new(other)]
}

impl Loader<'_> {
    /// Everything that is missing by now, the locks first.
    pub(super) fn questions(&mut self) -> Vec<Question> {
        let wants = &mut self.wants;
        let mut questions = Vec::new();
        let mut ask = |what, is_empty: bool, values| {
            if !is_empty {
                questions.push(Question { what, values });
            }
        };
        let is_first = std::mem::take(&mut wants.restore);
        ask(What::Restore, !is_first, Vec::new());
        let (orders, order_ids) = (wants.orders.take(), wants.order_ids.take());
        let (authorizations, names) = (wants.authorizations.take(), wants.authorization_names.take());
        let (accounts, references): (Vec<_>, Vec<_>) = names.into_iter().unzip();
        let (shipments, by_id) = (wants.shipments.take(), wants.shipment_ids.take());
        let (of_orders, ids): (Vec<_>, Vec<_>) = by_id.into_iter().unzip();
        let (captures, kept) = (wants.captures.take(), wants.kept.take());
        let mut locks: Vec<i64> = wants.locks.take();
        locks.extend(orders.iter().filter(|order| !self.locked.contains(order)));
        // What comes up later is of orders that are locked by then, with few exceptions: those are found out
        // when it comes, and it is asked for again.
        let keys = [&authorizations, &shipments, &captures, &kept];
        let names_any = !accounts.is_empty() || keys.iter().any(|keys| !keys.is_empty());
        let is_locked = locks.is_empty() && order_ids.is_empty() && !(is_first && names_any);
        let values: Values = vec![
            Box::new(locks),
            Box::new(order_ids.clone()),
            Box::new(captures.clone()),
            Box::new(authorizations.clone()),
            Box::new(accounts.clone()),
            Box::new(references.clone()),
            Box::new(shipments.clone()),
            Box::new(kept.clone()),
        ];
        ask(What::Lock, is_locked, values);
        ask(What::OrdersById, order_ids.is_empty(), one(order_ids));
        ask(What::Orders, orders.is_empty(), one(orders));
        ask(What::AuthorizationsByName, accounts.is_empty(), two(accounts, references));
        ask(What::Authorizations, authorizations.is_empty(), one(authorizations));
        ask(What::ShipmentsById, ids.is_empty(), two(of_orders, ids));
        ask(What::Shipments, shipments.is_empty(), one(shipments));
        ask(What::Captures, captures.is_empty(), one(captures));
        ask(What::Kept, kept.is_empty(), one(kept));
        let scopes = wants.scopes.take();
        for scope in Scope::ALL {
            let of: Vec<i64> = scopes.iter().filter(|(asked, _)| *asked == scope).map(|(_, of)| *of).collect();
            ask(What::Scope(scope), of.is_empty(), one(of));
        }
        let letters: Vec<Vec<u8>> = wants.letters.take().into_iter().map(|id| id.to_vec()).collect();
        ask(What::Letters, letters.is_empty(), one(letters));
        let fees = wants.fees.take();
        let of: Vec<i64> = fees.iter().map(|(of, _, _)| *of).collect();
        let numbers: Vec<i64> = fees.iter().map(|(_, number, _)| *number).collect();
        let generations: Vec<i64> = fees.iter().map(|(_, _, generation)| *generation).collect();
        ask(What::Fees, fees.is_empty(), vec![Box::new(of), Box::new(numbers), Box::new(generations)]);
        questions
    }
}
