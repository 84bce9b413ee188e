//! Synod's acceptor: the votes.
