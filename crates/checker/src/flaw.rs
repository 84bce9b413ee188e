//! Mistakes that a checker could make, planted by its own tests to see that their histories would tell.
//!
//! A shipped build asks a constant `false`.

/// A mistake of a checker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A call may take effect before it was called and after it was answered.
    IgnoresRealTime,
    /// A call whose outcome is unknown never takes effect.
    UnknownNeverHappens,
    /// A call whose outcome is unknown takes effect before its client gives up.
    UnknownIsOk,
    /// A call whose outcome is unknown may take effect again and again.
    UnknownHappensOften,
    /// A call that failed for certain may take effect.
    FailedIsUnknown,
    /// There is one key.
    MergesKeys,
    /// It doesn't matter what a delete says it found.
    IgnoresExisted,
    /// The search takes two partial orders for one though they lead to different values.
    MemoryForgetsValue,
    /// The search takes two partial orders for one though other calls of unknown outcome took effect in them.
    MemoryForgetsUnknown,
    /// The certificate's reads come before the writes of their slot.
    ReadsComeFirst,
    /// The certificate's reads at one slot may differ.
    ReadsMayDiffer,
    /// The certificate's order need not keep to real time.
    SlotsIgnoreRealTime,
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn is(_flaw: Flaw) -> bool {
    false
}

#[cfg(test)]
pub(crate) use planted::{is, plant};

#[cfg(test)]
mod planted {
    use std::cell::Cell;

    use super::Flaw;

    thread_local! {
        static PLANTED: Cell<Option<Flaw>> = const { Cell::new(None) };
    }

    pub(crate) fn is(flaw: Flaw) -> bool {
        PLANTED.get() == Some(flaw)
    }

    /// Plants a flaw on this thread in place of any other.
    pub(crate) fn plant(flaw: Option<Flaw>) {
        PLANTED.set(flaw);
    }
}
