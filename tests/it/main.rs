//! One integration binary: real brokers, real servers, real files. A file per behaviour.

mod broker;
mod support;
