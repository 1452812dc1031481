//! Logs and alarms.
