//! An outcome as two numbers, for the hash chain and for images: the same in every release.
//!
//! A kind and one detail. Kinds are never used again for something else: chains of old logs and images of old releases name them.

use synod_protocol::Revision;
use synod_protocol::command::{Outcome, Refusal};

/// The kind and the detail of an outcome.
pub(crate) fn parts(outcome: Outcome) -> (u8, u64) {
    match outcome {
        Outcome::Put { revision } => (1, revision.0),
        // No mutation has revision 0.
        Outcome::Deleted { revision } => (2, revision.unwrap_or(Revision::ZERO).0),
        Outcome::Renewed => (3, 0),
        Outcome::Closed => (4, 0),
        Outcome::Refused(Refusal::KeyTooLong { limit }) => (5, limit),
        Outcome::Refused(Refusal::ValueTooLong { limit }) => (6, limit),
        Outcome::Refused(Refusal::NoSession) => (7, 0),
        Outcome::Refused(Refusal::OutsideWindow) => (8, 0),
        Outcome::Refused(Refusal::Restoring) => (9, 0),
        Outcome::Refused(Refusal::NotEmpty { revision }) => (10, revision.0),
        Outcome::Refused(Refusal::BadRevision) => (11, 0),
        Outcome::Restored => (12, 0),
        Outcome::Refused(Refusal::OtherBackup { backup }) => (13, backup),
    }
}

/// The outcome of these parts, if there is one.
pub(crate) fn from_parts(kind: u8, detail: u64) -> Option<Outcome> {
    let outcome = match kind {
        1 => Outcome::Put { revision: Revision(detail) },
        2 => Outcome::Deleted { revision: (detail > 0).then_some(Revision(detail)) },
        3 => Outcome::Renewed,
        4 => Outcome::Closed,
        5 => Outcome::Refused(Refusal::KeyTooLong { limit: detail }),
        6 => Outcome::Refused(Refusal::ValueTooLong { limit: detail }),
        7 => Outcome::Refused(Refusal::NoSession),
        8 => Outcome::Refused(Refusal::OutsideWindow),
        9 => Outcome::Refused(Refusal::Restoring),
        10 => Outcome::Refused(Refusal::NotEmpty { revision: Revision(detail) }),
        11 => Outcome::Refused(Refusal::BadRevision),
        12 => Outcome::Restored,
        13 => Outcome::Refused(Refusal::OtherBackup { backup: detail }),
        _ => return None,
    };
    // One way to write each: an image that says more than it means is damaged.
    (parts(outcome) == (kind, detail)).then_some(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_and_nothing_else_is_taken() {
        let mut found = 0;
        for kind in 0..=u8::MAX {
            for detail in [0, 1, 7, u64::MAX] {
                if let Some(outcome) = from_parts(kind, detail) {
                    assert_eq!(parts(outcome), (kind, detail));
                    found += 1;
                }
            }
        }
        assert_eq!(found, 6 * 4 + 7, "kinds with a detail take any, the others only 0");
    }
}
