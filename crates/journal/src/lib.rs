//! Synod's journal: an append-only segmented log with group commit.
