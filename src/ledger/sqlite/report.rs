//! What operators ask of the ledger.
