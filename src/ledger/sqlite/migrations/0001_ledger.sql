-- One row per thing, integer keys from one sequence, instants in microseconds since 1970, money in
-- minor units. Ids are indexed only where something is looked up by them. Lists of words are checked
-- with OR: for an IN of more than two, SQLite builds a temporary table with every statement. Triggers
-- roll the whole transaction back, as the writer would: to abort one statement, SQLite has to keep a copy
-- of every page that it changes. They fire after an update: where one fires before it, SQLite loads the row anew.

CREATE TABLE sequence (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  next_row INTEGER NOT NULL
) STRICT;
INSERT INTO sequence VALUES (1, 1);

-- The restore from a backup that this ledger is, or has come from. Nothing is captured between begin and
-- end, whoever runs the worker.
CREATE TABLE restores (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  begun_at INTEGER NOT NULL,
  ended_at INTEGER,
  below_row INTEGER NOT NULL,      -- authorizations with smaller numbers were there when it began
  read_first_until INTEGER NOT NULL -- new authorizations may be of the lost time until then
) STRICT;

CREATE TABLE orders (
  order_row INTEGER PRIMARY KEY,
  order_id TEXT NOT NULL UNIQUE,
  mode TEXT CHECK (mode IN ('planned', 'explicit')),
  progress TEXT NOT NULL,          -- JSON: shipped and cancelled per line, in millionths
  is_cancelled INTEGER NOT NULL,
  is_closed INTEGER NOT NULL,
  closes_at INTEGER,
  stored INTEGER NOT NULL CHECK (stored >= 0),
  captured INTEGER NOT NULL CHECK (captured >= 0),
  open INTEGER NOT NULL CHECK (open >= 0),
  fees INTEGER NOT NULL,
  refund_revision INTEGER NOT NULL,
  newest_authorization INTEGER,
  final_at INTEGER,
  awaiting INTEGER NOT NULL CHECK (awaiting >= 0),
  kept INTEGER NOT NULL CHECK (kept >= 0),
  sequence INTEGER NOT NULL
) STRICT;

CREATE INDEX orders_closing ON orders (closes_at) WHERE closes_at IS NOT NULL;

-- In a table of its own, because an order is written again with every outcome, and its plan only when
-- it is revised.
CREATE TABLE plans (
  order_row INTEGER PRIMARY KEY,
  plan TEXT NOT NULL               -- JSON: revision, policy, fee, total, lines with ordered and share
) STRICT;

-- Cancellations and registrations that wait for what they lack, or have waited.
CREATE TABLE kept_notices (
  notice_row INTEGER PRIMARY KEY,
  order_row INTEGER NOT NULL REFERENCES orders,
  body_sha256 BLOB NOT NULL,
  kept_at INTEGER NOT NULL,
  due_at INTEGER,                  -- null once it was applied or set aside
  body BLOB,                       -- the message, while it waits
  origin TEXT                      -- JSON: where it came from
) STRICT;

CREATE INDEX kept_notices_due ON kept_notices (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX kept_notices_waiting ON kept_notices (order_row) WHERE due_at IS NOT NULL;

CREATE TABLE authorizations (
  authorization_row INTEGER PRIMARY KEY,
  account TEXT NOT NULL,
  reference TEXT NOT NULL,
  order_row INTEGER NOT NULL REFERENCES orders,
  currency TEXT NOT NULL,
  authorized INTEGER NOT NULL,
  is_amount_known INTEGER NOT NULL,
  captured INTEGER NOT NULL CHECK (captured >= 0),
  reserved INTEGER NOT NULL CHECK (reserved >= 0),
  excess INTEGER NOT NULL CHECK (excess >= 0),
  expires_at INTEGER,
  expiry_is_derived INTEGER NOT NULL,
  planned INTEGER NOT NULL CHECK (planned >= 0),
  in_flight INTEGER NOT NULL CHECK (in_flight >= 0),
  waiting INTEGER NOT NULL CHECK (waiting >= 0),
  waiting_amount INTEGER NOT NULL CHECK (waiting_amount >= 0),
  single TEXT NOT NULL CHECK (single = 'free' OR single = 'undecided' OR single = 'used'),
  freeze_at INTEGER,
  reads INTEGER NOT NULL,
  ask_at INTEGER,                  -- when to ask the provider for what nobody has told
  ask_until INTEGER,
  ask_count INTEGER,
  epoch INTEGER NOT NULL,
  provider_captured INTEGER,
  provider_remaining INTEGER,
  provider_expires_at INTEGER,
  provider_voided INTEGER,
  unresolved INTEGER NOT NULL CHECK (unresolved >= 0),
  watch_at INTEGER,                -- when anything is due about it next; null: nothing left to watch
  lead_at INTEGER,
  read_at INTEGER,
  leads TEXT,                      -- JSON: expiries and leads that were looked at
  reported INTEGER,
  foreign_standing TEXT CHECK (
    foreign_standing = 'suspected' OR foreign_standing = 'seen' OR foreign_standing = 'halted'
    OR foreign_standing = 'let_be'
  ),
  foreign_amount INTEGER,          -- captured by somebody else, as it was seen last
  foreign_since INTEGER,
  restored TEXT,                   -- after a restore from a backup: 'unread', or JSON: what a read showed
  over INTEGER,                    -- the expiry under which its provider said that it is over, at whatever time
  held INTEGER NOT NULL CHECK (held >= 0 AND held <= planned), -- captures that a cap of the account holds
  UNIQUE (account, reference),
  -- S3: over our own movements, never more than was authorized. `excess` is above zero only when
  -- positive evidence of a capture arrived after its failure had been booked.
  CHECK (captured + reserved - excess <= authorized)
) STRICT;

-- What is due is asked for account by account, so that none crowds out another.
CREATE INDEX authorizations_watched ON authorizations (account, watch_at) WHERE watch_at IS NOT NULL;
CREATE INDEX authorizations_asking ON authorizations (account, ask_at) WHERE ask_at IS NOT NULL;
CREATE INDEX authorizations_read ON authorizations (read_at) WHERE read_at IS NOT NULL;
CREATE INDEX authorizations_of_orders ON authorizations (order_row);
CREATE INDEX authorizations_collecting ON authorizations (read_at) WHERE waiting > 0;
CREATE INDEX authorizations_unread ON authorizations (account, read_at) WHERE restored = 'unread';
CREATE INDEX authorizations_halted ON authorizations (account) WHERE foreign_standing = 'halted';
CREATE INDEX authorizations_held ON authorizations (account) WHERE held > 0;

CREATE TABLE shipments (
  shipment_row INTEGER PRIMARY KEY,
  order_row INTEGER NOT NULL REFERENCES orders,
  shipment_id TEXT NOT NULL,
  generation INTEGER NOT NULL,
  content BLOB NOT NULL,
  state TEXT NOT NULL CHECK (
    state = 'covered' OR state = 'settled' OR state = 'refused' OR state = 'waiting' OR state = 'awaiting'
  ),
  awaits TEXT,                     -- what it lacks, or lacked
  says_final INTEGER NOT NULL,
  lines TEXT NOT NULL,             -- JSON: line and millionths
  amount INTEGER CHECK (amount >= 0),
  authorization_row INTEGER,       -- its capture references it; this is written with every outcome
  capture_row INTEGER,
  collected_on INTEGER,            -- the authorization, where it is captured once for all its shipments
  reason TEXT,
  accepted_at INTEGER NOT NULL,
  caused_by TEXT NOT NULL,
  due_at INTEGER,
  UNIQUE (order_row, shipment_id)
) STRICT;

-- The message that a shipment came with, until its outcome is known. In a table of its own, because
-- the shipment is written again with its outcome, and the message need not be.
CREATE TABLE messages (
  shipment_row INTEGER PRIMARY KEY,
  body BLOB NOT NULL,
  origin TEXT NOT NULL             -- JSON: where it came from
) STRICT;

CREATE INDEX shipments_due ON shipments (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX shipments_collected ON shipments (collected_on) WHERE collected_on IS NOT NULL;

-- S6: an outcome stands. Only a new generation starts again.
CREATE TRIGGER shipments_absorb AFTER UPDATE OF state ON shipments
WHEN OLD.state IN ('settled', 'refused') AND NEW.state <> OLD.state AND NEW.generation <= OLD.generation
BEGIN SELECT RAISE(ROLLBACK, 'the outcome of a shipment stands'); END;

CREATE TABLE captures (
  capture_row INTEGER PRIMARY KEY,
  capture_id BLOB NOT NULL,
  authorization_row INTEGER NOT NULL REFERENCES authorizations,
  order_row INTEGER NOT NULL REFERENCES orders,
  shipment_row INTEGER REFERENCES shipments,     -- the last one in it; null for a fee
  fee INTEGER CHECK ((fee IS NULL) = (shipment_row IS NOT NULL)),
  fee_caused_by TEXT,
  kind TEXT NOT NULL CHECK (kind = 'shipment' OR kind = 'batch' OR kind = 'deadline' OR kind = 'fee'),
  generation INTEGER NOT NULL,
  amount INTEGER NOT NULL CHECK (amount > 0),
  state TEXT NOT NULL,
  is_open INTEGER NOT NULL CHECK (is_open IS CASE state
    WHEN 'captured' THEN 0 WHEN 'sending' THEN 1 WHEN 'planned' THEN 1
    WHEN 'in_doubt' THEN 1 WHEN 'failed' THEN 0 WHEN 'unresolved' THEN 0 END
  ),
  planned_at INTEGER NOT NULL,
  due_at INTEGER,
  waits_turn INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  doubtful INTEGER NOT NULL DEFAULT 0,
  failures INTEGER NOT NULL DEFAULT 0,
  looks INTEGER NOT NULL DEFAULT 0,
  window_from INTEGER,             -- by the wall clock, and by the machine's own: which run of it,
  window_boot BLOB,
  window_since_boot INTEGER,       -- and how many microseconds after its start
  send_by INTEGER,
  send_by_boot BLOB,
  send_by_since_boot INTEGER,
  look_begun INTEGER,
  look_begun_boot BLOB,
  look_begun_since_boot INTEGER,
  doubt_since INTEGER,
  is_pending INTEGER NOT NULL DEFAULT 0,
  refused TEXT,                    -- JSON: the refusal that waits to be confirmed
  terminal_seen_at INTEGER,
  terminal_seen_boot BLOB,
  terminal_seen_since_boot INTEGER,
  left_open TEXT,                  -- how the latest attempt that may have been executed left it open
  since TEXT,                      -- what came of it since
  last_seen TEXT,
  resolved_by TEXT,
  provider_reference TEXT,
  settled_at INTEGER,
  account TEXT NOT NULL,           -- its authorization's, for the index
  corrected_at INTEGER,            -- when evidence of a capture was booked that came after its outcome
  capped TEXT CHECK (              -- what holds it, until it is released or goes on by itself
    capped = 'capture' OR capped = 'hour' OR capped = 'day' OR capped = 'currency' OR capped = 'released'
  ),
  counted_at INTEGER               -- since when it counts against the caps of its account
) STRICT;

CREATE INDEX captures_fees ON captures (order_row) WHERE fee IS NOT NULL;
CREATE INDEX captures_due ON captures (account, due_at) WHERE due_at IS NOT NULL;
-- An id is open once: it tells its authorization too, so this is as good as the id alone, and the rows lie in order.
CREATE UNIQUE INDEX captures_open ON captures (authorization_row, capture_id) WHERE is_open = 1;
CREATE INDEX captures_unresolved ON captures (authorization_row) WHERE state = 'unresolved';
CREATE INDEX captures_corrected ON captures (account, corrected_at) WHERE corrected_at IS NOT NULL;

-- S5: an intent never changes.
CREATE TRIGGER captures_frozen
BEFORE UPDATE OF capture_id, authorization_row, order_row, shipment_row, fee, generation, amount ON captures
BEGIN SELECT RAISE(ROLLBACK, 'an intent never changes'); END;

-- S6: terminal states absorb.
CREATE TRIGGER captures_absorb AFTER UPDATE OF state ON captures
WHEN OLD.is_open = 0 AND NEW.state <> OLD.state
BEGIN SELECT RAISE(ROLLBACK, 'the outcome of a capture stands'); END;

CREATE TRIGGER captures_stay BEFORE DELETE ON captures
BEGIN SELECT RAISE(ROLLBACK, 'captures are never deleted'); END;

-- What counts against the caps of an account.
CREATE TABLE cap_usage (
  account TEXT NOT NULL,
  currency TEXT NOT NULL,
  hour TEXT NOT NULL,              -- JSON: minute since 1970 and minor units
  day TEXT NOT NULL,               -- JSON: the same in slots of 24 minutes
  PRIMARY KEY (account, currency)
) STRICT, WITHOUT ROWID;

-- A capture reserves once, and is captured, released or corrected at most once each.
CREATE TABLE movements (
  capture_row INTEGER NOT NULL,
  kind TEXT NOT NULL CHECK (kind = 'reserve' OR kind = 'release' OR kind = 'capture' OR kind = 'correct'),
  authorization_row INTEGER NOT NULL,
  amount INTEGER NOT NULL CHECK (amount > 0),
  at INTEGER NOT NULL,
  PRIMARY KEY (capture_row, kind)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER movements_append_only_update BEFORE UPDATE ON movements
BEGIN SELECT RAISE(ROLLBACK, 'movements are append-only'); END;
CREATE TRIGGER movements_append_only_delete BEFORE DELETE ON movements
BEGIN SELECT RAISE(ROLLBACK, 'movements are append-only'); END;

-- What attempts and looks showed, for people.
CREATE TABLE history (
  capture_row INTEGER NOT NULL,
  number INTEGER NOT NULL,         -- rises
  attempt INTEGER NOT NULL,
  what TEXT NOT NULL,
  detail TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (capture_row, number)
) STRICT, WITHOUT ROWID;

-- Events are written once; whether they are published is kept beside them, in narrow rows.
CREATE TABLE events (
  event_row INTEGER PRIMARY KEY,
  event_id BLOB NOT NULL,
  kind TEXT NOT NULL,
  body BLOB NOT NULL,              -- empty once retention has taken it
  traceparent TEXT,
  outcome_of INTEGER,              -- the shipment, or a fee's capture, whose one outcome it is
  generation INTEGER
) STRICT;

-- S6: one outcome per shipment and generation.
CREATE UNIQUE INDEX events_outcomes ON events (outcome_of, generation) WHERE outcome_of IS NOT NULL;

CREATE TABLE outbox (
  event_row INTEGER PRIMARY KEY,
  written_at INTEGER NOT NULL,
  published_at INTEGER
) STRICT;

CREATE INDEX outbox_unpublished ON outbox (event_row) WHERE published_at IS NULL;

CREATE TABLE dead_letters (
  dead_letter_row INTEGER PRIMARY KEY,
  dead_letter_id BLOB NOT NULL UNIQUE,
  reason TEXT NOT NULL,
  path TEXT NOT NULL,
  message TEXT NOT NULL,
  provider_code TEXT,
  fingerprint TEXT NOT NULL,
  order_id TEXT,
  shipment_id TEXT,
  account TEXT,
  shipment_row INTEGER,
  fee INTEGER,                     -- its number in the order, where it is of a fee
  generation INTEGER NOT NULL,
  currency TEXT,
  amount INTEGER,                  -- what was not captured, where it was worked out
  first_seen_at INTEGER NOT NULL,
  last_seen_at INTEGER NOT NULL,
  count INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state = 'open' OR state = 'replaying' OR state = 'replayed' OR state = 'discarded'),
  job_row INTEGER,                 -- the replay that has taken it, or took it last
  body BLOB,
  body_sha256 BLOB,
  origin TEXT
) STRICT;

-- What retention may take the message of.
CREATE INDEX dead_letters_spent ON dead_letters (last_seen_at)
WHERE body IS NOT NULL AND (state = 'replayed' OR state = 'discarded');

-- How far retention has come: everything up to this row was looked at.
CREATE TABLE pruned (
  what TEXT PRIMARY KEY CHECK (what = 'events' OR what = 'captures'),
  up_to INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO pruned VALUES ('events', 0), ('captures', 0);

CREATE INDEX dead_letters_by_state ON dead_letters (state, reason);

-- Replays: who tried what again, when and why, and what became of each. What a replay takes is written
-- down when it begins; dead letters that come later are not in it.
CREATE TABLE replay_jobs (
  job_row INTEGER PRIMARY KEY,
  request_row INTEGER NOT NULL,    -- who, when and why
  choice TEXT NOT NULL,            -- JSON: what was chosen
  letters INTEGER NOT NULL,
  canary INTEGER NOT NULL,         -- so many first, and their outcomes awaited
  rate INTEGER NOT NULL,           -- dead letters in a second
  failures_max INTEGER NOT NULL,   -- in percent of what is decided
  state TEXT NOT NULL CHECK (state = 'running' OR state = 'paused' OR state = 'stopped' OR state = 'done'),
  why TEXT,                        -- of the state, in words
  changed_by TEXT,                 -- null: by itself
  changed_at INTEGER NOT NULL,
  summary TEXT                     -- JSON: what it came to, once retention takes its items
) STRICT;

-- In the order in which they are tried again: orders by their first arrival, each in its own sequence.
CREATE TABLE replay_items (
  job_row INTEGER NOT NULL,
  position INTEGER NOT NULL,
  dead_letter_row INTEGER NOT NULL,
  order_id TEXT,
  state TEXT NOT NULL CHECK (state = 'pending' OR state = 'done' OR state = 'left'),
  result TEXT,
  why_not TEXT,
  why TEXT,
  shipment_row INTEGER,            -- whose generation tells how it ends
  generation INTEGER,
  capture_row INTEGER,             -- of a fee
  done_at INTEGER,
  PRIMARY KEY (job_row, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX replay_items_next ON replay_items (job_row, position) WHERE state = 'pending';
-- A dead letter is in one replay at a time.
CREATE UNIQUE INDEX replay_items_pending ON replay_items (dead_letter_row) WHERE state = 'pending';

-- Where each account stands, as its worker last said; and whether an operator has paused it, which the
-- next worker goes by.
CREATE TABLE accounts (
  account TEXT PRIMARY KEY,
  state TEXT NOT NULL,
  why TEXT,
  since INTEGER NOT NULL,
  last_success_at INTEGER,
  clock_skew_ms INTEGER,           -- how far its provider's clock is ahead of ours; null: not known
  paused_why TEXT                  -- not null while it is paused
) STRICT, WITHOUT ROWID;

-- What operators ask of the worker. The command that asks writes the row, the worker carries it out and
-- answers, and the command reads the answer. The rows stay: they say who did what, when and why.
CREATE TABLE requests (
  request_row INTEGER PRIMARY KEY,
  asked_at INTEGER NOT NULL,
  asked_by TEXT NOT NULL,
  reason TEXT NOT NULL,
  what TEXT NOT NULL,              -- JSON: the request and what it is about
  answered_at INTEGER,
  answer TEXT                      -- JSON: whether it was done, and words
) STRICT;

CREATE INDEX requests_open ON requests (request_row) WHERE answered_at IS NULL;

-- Where this ledger has gone to, or has come from: after a move one of the two must not be used any more.
CREATE TABLE moves (
  move_id TEXT PRIMARY KEY,        -- the same in both
  way TEXT NOT NULL CHECK (way = 'to' OR way = 'from'),
  place TEXT NOT NULL,             -- the other one
  begun_at INTEGER NOT NULL,
  done_at INTEGER                  -- null: whether the other one has it all, only that one knows
) STRICT, WITHOUT ROWID;
