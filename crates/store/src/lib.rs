//! Synod's replicated state machine: sessions, keys, hash chain.
