//! What one logical client knows of its own keys, and so what an answer may be.
//!
//! A client works on its own keys alone, one call at a time, so each key's state is the last acknowledged one, or that of a
//! write since that ended as unknown. Those candidates stand in the order of their calls: a session's later command carries
//! the mark past an earlier call that ended as unknown (S9), so once a candidate was seen, none before it can come any more.

/// The state of a key: the number of the write that set it, or nothing.
pub(crate) type KeyState = Option<u64>;

#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    /// For each key what it may be, in the order of the calls; never empty.
    keys: Vec<Vec<KeyState>>,
}

impl Ledger {
    /// So many keys that nobody has ever written.
    pub(crate) fn new(keys: usize) -> Ledger {
        Ledger { keys: vec![vec![None]; keys] }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// A write was acknowledged.
    pub(crate) fn acknowledged(&mut self, key: usize, state: KeyState) {
        self.keys[key].clear();
        self.keys[key].push(state);
    }

    /// A write ended as unknown.
    pub(crate) fn unknown(&mut self, key: usize, state: KeyState) {
        if self.keys[key].last() != Some(&state) {
            self.keys[key].push(state);
        }
    }

    /// A key was read; false if it can't be so.
    pub(crate) fn read(&mut self, key: usize, state: KeyState) -> bool {
        let candidates = &mut self.keys[key];
        let found = candidates.iter().position(|candidate| *candidate == state);
        candidates.drain(..found.unwrap_or(0));
        found.is_some()
    }

    /// Whether a delete may have found the key there, or not, as told.
    pub(crate) fn may_have_existed(&self, key: usize, existed: bool) -> bool {
        self.keys[key].iter().any(|candidate| candidate.is_some() == existed)
    }

    /// What a key may be, for a violation's description.
    pub(crate) fn candidates(&self, key: usize) -> &[KeyState] {
        &self.keys[key]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_acknowledged_state_may_be_read() {
        let mut ledger = Ledger::new(2);
        assert!(ledger.read(0, None) && !ledger.read(0, Some(1)));
        ledger.acknowledged(0, Some(1));
        assert!(ledger.read(0, Some(1)) && !ledger.read(0, None) && !ledger.read(0, Some(2)));
        assert!(ledger.read(1, None), "another key");
        ledger.acknowledged(0, None);
        assert!(ledger.read(0, None) && !ledger.read(0, Some(1)));
    }

    #[test]
    fn unknown_writes_may_be_seen_in_their_order_and_none_before() {
        let mut ledger = Ledger::new(1);
        ledger.acknowledged(0, Some(1));
        ledger.unknown(0, Some(2));
        ledger.unknown(0, None);
        assert!(ledger.read(0, Some(1)), "nothing has happened yet");
        assert!(ledger.may_have_existed(0, true) && ledger.may_have_existed(0, false));
        assert!(ledger.read(0, Some(2)));
        assert!(!ledger.read(0, Some(1)), "2 was seen");
        assert!(ledger.read(0, None) && !ledger.read(0, Some(2)));
        assert!(!ledger.may_have_existed(0, true));
        ledger.acknowledged(0, Some(5));
        assert!(!ledger.read(0, None));
    }
}
