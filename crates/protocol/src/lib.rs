//! Synod's vocabulary, messages, role contract and wire.
