//! Synod's proposer: the order.
