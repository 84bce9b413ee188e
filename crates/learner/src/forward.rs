//! Whose commands went to a proposer under which tag of ours, so that a refusal finds its way back.
//!
//! A proposal that was taken is never answered, so the oldest tags make room for new ones; a client whose refusal is lost
//! that way sends its command again, like after any loss.

use std::collections::BTreeMap;

use synod_protocol::ClientId;

/// Tags remembered, at most.
const MOST: usize = 1 << 16;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Forwarded {
    /// The last tag used.
    tag: u64,
    /// Client and its tag, by our tag.
    clients: BTreeMap<u64, (ClientId, u64)>,
}

impl Forwarded {
    /// Tags count from `life` on.
    pub(crate) fn new(life: u64) -> Forwarded {
        // Halved, so that tags only rise: the lowest is the oldest.
        Forwarded { tag: life / 2, clients: BTreeMap::new() }
    }

    /// A tag for a proposal of our own.
    pub(crate) fn tag(&mut self) -> u64 {
        self.tag += 1;
        self.tag
    }

    /// A tag for the commands that `client` sent under `tag`.
    pub(crate) fn tag_for(&mut self, client: ClientId, tag: u64) -> u64 {
        let own = self.tag();
        self.clients.insert(own, (client, tag));
        if self.clients.len() > MOST {
            self.clients.pop_first();
        }
        own
    }

    /// Whose commands these were, under which tag of theirs; asked once.
    pub(crate) fn take(&mut self, own: u64) -> Option<(ClientId, u64)> {
        self.clients.remove(&own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_tags_make_room() {
        let mut forwarded = Forwarded::new(u64::MAX);
        let tags: Vec<_> = (0..MOST as u64 + 2).map(|tag| forwarded.tag_for(ClientId(7), tag)).collect();
        assert_eq!(forwarded.clients.len(), MOST);
        assert_eq!((forwarded.take(tags[0]), forwarded.take(tags[1])), (None, None));
        assert_eq!(forwarded.take(tags[2]), Some((ClientId(7), 2)));
        assert_eq!(forwarded.take(tags[2]), None);
        assert!(!tags.contains(&forwarded.tag()));
    }
}
