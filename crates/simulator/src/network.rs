//! Connections and partitions between processes. Who hears whom is decided here; when a message arrives, by the world.
//!
//! A connection is up or down, and each that comes up has a number of its own. Whichever end survives is told of its end, in order,
//! but perhaps much later. A cut pair loses messages silently, as a cable that was pulled. Processes are named by their place.

use crate::plan::Us;

/// A connection between two processes.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    up: bool,
    /// Rises whenever it comes up or goes down.
    number: u64,
}

/// Everything between processes.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    count: usize,
    /// By pair, the lower place first.
    links: Vec<Link>,
    /// By directed pair: that this end wasn't told yet that the connection went down.
    untold: Vec<bool>,
    /// By directed pair: how many partitions cut it.
    cuts: Vec<u32>,
    /// By directed pair: when the last message that keeps its order arrives.
    arrival: Vec<Us>,
}

impl Network {
    /// `count` processes without connections.
    pub(crate) fn new(count: usize) -> Network {
        let pairs = count * count;
        Network {
            count,
            links: vec![Link::default(); pairs],
            untold: vec![false; pairs],
            cuts: vec![0; pairs],
            arrival: vec![0; pairs],
        }
    }

    fn pair(&self, from: usize, to: usize) -> usize {
        from * self.count + to
    }

    fn link(&mut self, one: usize, other: usize) -> &mut Link {
        let pair = self.pair(one.min(other), one.max(other));
        &mut self.links[pair]
    }

    /// The connection's number while it is up.
    pub(crate) fn connection(&self, one: usize, other: usize) -> Option<u64> {
        let link = self.links[self.pair(one.min(other), one.max(other))];
        link.up.then_some(link.number)
    }

    /// A connection comes up. Returns whether the first and the other end must be told first that the one before is gone.
    pub(crate) fn connect(&mut self, one: usize, other: usize) -> (bool, bool) {
        let link = self.link(one, other);
        (link.up, link.number) = (true, link.number + 1);
        let (there, back) = (self.pair(one, other), self.pair(other, one));
        (self.arrival[there], self.arrival[back]) = (0, 0);
        (std::mem::take(&mut self.untold[there]), std::mem::take(&mut self.untold[back]))
    }

    /// A connection goes down; false if it wasn't up. Its ends are to be told.
    pub(crate) fn disconnect(&mut self, one: usize, other: usize) -> bool {
        let link = self.link(one, other);
        if !link.up {
            return false;
        }
        (link.up, link.number) = (false, link.number + 1);
        let (there, back) = (self.pair(one, other), self.pair(other, one));
        (self.untold[there], self.untold[back]) = (true, true);
        true
    }

    /// Whether `place` is yet to be told that the connection to `other` is gone; it counts as told from here on.
    pub(crate) fn tell_down(&mut self, place: usize, other: usize) -> bool {
        let pair = self.pair(place, other);
        std::mem::take(&mut self.untold[pair])
    }

    /// A partition begins or ends.
    pub(crate) fn cut(&mut self, pairs: &[(usize, usize)], begins: bool) {
        for (from, to) in pairs {
            let pair = self.pair(*from, *to);
            self.cuts[pair] = if begins { self.cuts[pair] + 1 } else { self.cuts[pair].saturating_sub(1) };
        }
    }

    /// All partitions end.
    pub(crate) fn heal(&mut self) {
        self.cuts.fill(0);
    }

    /// Whether messages from here don't arrive there.
    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts[self.pair(from, to)] > 0
    }

    /// When a message that would arrive at `at` does, if it may not overtake the one before it.
    pub(crate) fn in_order(&mut self, from: usize, to: usize, at: Us) -> Us {
        let pair = self.pair(from, to);
        let at = at.max(self.arrival[pair] + 1);
        self.arrival[pair] = at;
        at
    }
}
