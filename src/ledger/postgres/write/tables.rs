//! The tables that groups write, column by column in their order, and the statements that write them.

use std::fmt::Write as _;
use std::sync::LazyLock;

use super::batch::Kind::{self, Bytes as B, Integer as I, Text as T};

/// A table, as groups write it.
pub(super) struct Table {
    pub(super) columns: &'static [(&'static str, Kind)],
    /// Inserts rows.
    pub(super) insert: String,
    /// Updates rows by their first column; empty where nothing ever changes.
    pub(super) update: String,
}

impl Table {
    fn new(name: &str, columns: &'static [(&'static str, Kind)], updated: &[&str], claim: Claim<'_>) -> Self {
        Self { columns, insert: insert(name, columns, claim), update: update(name, columns, updated, claim) }
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.columns.iter().map(|(_, kind)| *kind)
    }
}

/// What becomes of `claimed_by`, whose value is the parameter behind the columns.
#[derive(Clone, Copy)]
enum Claim<'a> {
    /// There is none.
    None,
    /// Whoever inserts it has it.
    Insert,
    /// So has whoever raises one of these columns: a call was begun.
    Begin(&'a [&'a str]),
}

fn arrays(columns: &[(&str, Kind)]) -> String {
    let array = |(number, (_, kind)): (usize, &(&str, Kind))| {
        let kind = match kind {
            I => "bigint",
            T => "text",
            B => "bytea",
        };
        format!("${}::{kind}[]", number + 1)
    };
    columns.iter().enumerate().map(array).collect::<Vec<_>>().join(", ")
}

fn names(columns: &[(&str, Kind)]) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn insert(name: &str, columns: &[(&str, Kind)], claim: Claim<'_>) -> String {
    let (names, arrays) = (names(columns), arrays(columns));
    match claim {
        Claim::None => format!("INSERT INTO {name} ({names}) SELECT * FROM unnest({arrays})"),
        Claim::Insert | Claim::Begin(_) => {
            let claimant = columns.len() + 1;
            format!(
                "INSERT INTO {name} ({names}, claimed_by) SELECT u.*, ${claimant}::bigint FROM unnest({arrays}) AS u"
            )
        }
    }
}

fn update(name: &str, columns: &[(&str, Kind)], updated: &[&str], claim: Claim<'_>) -> String {
    if updated.is_empty() {
        return String::new();
    }
    let (key, names, arrays) = (columns[0].0, names(columns), arrays(columns));
    let mut set = updated.iter().map(|column| format!("{column} = u.{column}")).collect::<Vec<_>>().join(", ");
    if let Claim::Begin(raised) = claim {
        let begun: Vec<String> =
            raised.iter().map(|column| format!("t.{column} IS DISTINCT FROM u.{column}")).collect();
        let (begun, claimant) = (begun.join(" OR "), columns.len() + 1);
        let _ = write!(set, ", claimed_by = CASE WHEN {begun} THEN ${claimant}::bigint ELSE t.claimed_by END");
    }
    format!("UPDATE {name} AS t SET {set} FROM unnest({arrays}) AS u ({names}) WHERE t.{key} = u.{key}")
}

pub(super) static ORDERS: LazyLock<Table> = LazyLock::new(|| {
    let columns = &[
        ("order_row", I),
        ("order_id", T),
        ("mode", T),
        ("progress", T),
        ("is_cancelled", I),
        ("is_closed", I),
        ("closes_at", I),
        ("stored", I),
        ("captured", I),
        ("open", I),
        ("fees", I),
        ("refund_revision", I),
        ("newest_authorization", I),
        ("final_at", I),
        ("awaiting", I),
        ("kept", I),
        ("sequence", I),
    ];
    let updated = [
        "mode",
        "progress",
        "is_cancelled",
        "is_closed",
        "closes_at",
        "stored",
        "captured",
        "open",
        "fees",
        "refund_revision",
        "newest_authorization",
        "final_at",
        "awaiting",
        "kept",
        "sequence",
    ];
    Table::new("orders", columns, &updated, Claim::None)
});

pub(super) static AUTHORIZATIONS: LazyLock<Table> = LazyLock::new(|| {
    let columns = &[
        ("authorization_row", I),
        ("account", T),
        ("reference", T),
        ("order_row", I),
        ("currency", T),
        ("authorized", I),
        ("is_amount_known", I),
        ("captured", I),
        ("reserved", I),
        ("excess", I),
        ("expires_at", I),
        ("expiry_is_derived", I),
        ("planned", I),
        ("in_flight", I),
        ("waiting", I),
        ("waiting_amount", I),
        ("single", T),
        ("freeze_at", I),
        ("reads", I),
        ("ask_at", I),
        ("ask_until", I),
        ("ask_count", I),
        ("epoch", I),
        ("provider_captured", I),
        ("provider_remaining", I),
        ("provider_expires_at", I),
        ("provider_voided", I),
        ("unresolved", I),
        ("watch_at", I),
        ("lead_at", I),
        ("read_at", I),
        ("leads", T),
        ("reported", I),
        ("foreign_standing", T),
        ("foreign_amount", I),
        ("foreign_since", I),
        ("restored", T),
        ("over", I),
        ("held", I),
    ];
    let updated: Vec<&str> = columns[5..].iter().map(|(name, _)| *name).collect();
    Table::new("authorizations", columns, &updated, Claim::Begin(&["epoch", "ask_count"]))
});

pub(super) static SHIPMENTS: LazyLock<Table> = LazyLock::new(|| {
    let columns = &[
        ("shipment_row", I),
        ("order_row", I),
        ("shipment_id", T),
        ("generation", I),
        ("content", B),
        ("state", T),
        ("awaits", T),
        ("says_final", I),
        ("lines", T),
        ("amount", I),
        ("authorization_row", I),
        ("capture_row", I),
        ("collected_on", I),
        ("reason", T),
        ("accepted_at", I),
        ("caused_by", T),
        ("due_at", I),
    ];
    let updated = [
        "generation",
        "state",
        "awaits",
        "says_final",
        "amount",
        "authorization_row",
        "capture_row",
        "collected_on",
        "reason",
        "due_at",
    ];
    Table::new("shipments", columns, &updated, Claim::None)
});

pub(super) static CAPTURES: LazyLock<Table> = LazyLock::new(|| {
    let columns = &[
        ("capture_row", I),
        ("capture_id", B),
        ("authorization_row", I),
        ("order_row", I),
        ("shipment_row", I),
        ("fee", I),
        ("fee_caused_by", T),
        ("kind", T),
        ("generation", I),
        ("amount", I),
        ("state", T),
        ("is_open", I),
        ("planned_at", I),
        ("due_at", I),
        ("waits_turn", I),
        ("attempts", I),
        ("epoch", I),
        ("doubtful", I),
        ("failures", I),
        ("looks", I),
        ("window_from", I),
        ("window_boot", B),
        ("window_since_boot", I),
        ("send_by", I),
        ("send_by_boot", B),
        ("send_by_since_boot", I),
        ("look_begun", I),
        ("look_begun_boot", B),
        ("look_begun_since_boot", I),
        ("doubt_since", I),
        ("is_pending", I),
        ("refused", T),
        ("terminal_seen_at", I),
        ("terminal_seen_boot", B),
        ("terminal_seen_since_boot", I),
        ("left_open", T),
        ("since", T),
        ("last_seen", T),
        ("resolved_by", T),
        ("provider_reference", T),
        ("settled_at", I),
        ("account", T),
        ("corrected_at", I),
        ("capped", T),
        ("counted_at", I),
    ];
    // The intent never changes, and the database refuses a statement that could change it.
    let fixed = ["planned_at", "account"];
    let changes = columns[10..].iter().map(|(name, _)| *name);
    let updated: Vec<&str> = changes.filter(|name| !fixed.contains(name)).collect();
    Table::new("captures", columns, &updated, Claim::Begin(&["epoch"]))
});

pub(super) static USAGES: LazyLock<Table> = LazyLock::new(|| {
    let columns = &[("account", T), ("currency", T), ("hour", T), ("day", T)];
    let mut table = Table::new("cap_usage", columns, &["hour", "day"], Claim::None);
    table.update += " AND t.currency = u.currency";
    table
});

pub(super) static KEPT: LazyLock<Table> = LazyLock::new(|| {
    let columns = &[
        ("notice_row", I),
        ("order_row", I),
        ("body_sha256", B),
        ("kept_at", I),
        ("due_at", I),
        ("body", B),
        ("origin", T),
    ];
    Table::new("kept_notices", columns, &["due_at", "body", "origin"], Claim::None)
});

pub(super) static PLANS: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::new("plans", &[("order_row", I), ("plan", T)], &[], Claim::None);
    table.insert += " ON CONFLICT (order_row) DO UPDATE SET plan = excluded.plan";
    table
});

pub(super) static MESSAGES: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::new("messages", &[("shipment_row", I), ("body", B), ("origin", T)], &[], Claim::None);
    // The usual case is the same one again, of which nothing is written.
    table.insert += " ON CONFLICT (shipment_row) DO UPDATE SET body = excluded.body, origin = excluded.origin
        WHERE (messages.body, messages.origin) IS DISTINCT FROM (excluded.body, excluded.origin)";
    table
});

pub(super) static MOVEMENTS: LazyLock<Table> = LazyLock::new(|| {
    let columns = &[("capture_row", I), ("kind", T), ("authorization_row", I), ("amount", I), ("at", I)];
    Table::new("movements", columns, &[], Claim::None)
});

pub(super) static HISTORY: LazyLock<Table> = LazyLock::new(|| {
    let columns = &[("capture_row", I), ("number", I), ("attempt", I), ("what", T), ("detail", T), ("at", I)];
    Table::new("history", columns, &[], Claim::None)
});

pub(super) static EVENTS: LazyLock<Table> = LazyLock::new(|| {
    let columns = &[
        ("event_row", I),
        ("event_id", B),
        ("kind", T),
        ("body", B),
        ("traceparent", T),
        ("outcome_of", I),
        ("generation", I),
    ];
    Table::new("events", columns, &[], Claim::None)
});

pub(super) static OUTBOX: LazyLock<Table> =
    LazyLock::new(|| Table::new("outbox", &[("event_row", I), ("written_at", I)], &[], Claim::Insert));

pub(super) static DEAD_LETTERS: LazyLock<Table> = LazyLock::new(|| {
    let columns = &[
        ("dead_letter_id", B),
        ("reason", T),
        ("path", T),
        ("message", T),
        ("provider_code", T),
        ("fingerprint", T),
        ("order_id", T),
        ("shipment_id", T),
        ("account", T),
        ("shipment_row", I),
        ("fee", I),
        ("generation", I),
        ("currency", T),
        ("amount", I),
        ("first_seen_at", I),
        ("last_seen_at", I),
        ("count", I),
        ("state", T),
        ("job_row", I),
        ("body", B),
        ("body_sha256", B),
        ("origin", T),
    ];
    let updated = ["last_seen_at", "count", "state", "job_row"];
    Table::new("dead_letters", columns, &updated, Claim::None)
});

/// Dead letters of shipments: the same one may be there although it was not loaded, and is seen once more.
/// Whether one of a message is there is looked before, so that it is announced once; if it is there all the
/// same, it came a moment ago.
pub(super) static SHIPMENT_LETTERS: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table::new("dead_letters", DEAD_LETTERS.columns, &[], Claim::None);
    table.insert += " ON CONFLICT (dead_letter_id) DO UPDATE
        SET count = greatest(dead_letters.count + 1, excluded.count), last_seen_at = excluded.last_seen_at";
    table
});
