//! Step 2, decode: the wire contract. Bytes to a checked notice, and an event to bytes.
