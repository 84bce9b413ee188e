//! What processes say, held against what is durable and chosen: I4, I7, I8 and the half of I13 that concerns chosen values.

use synod_protocol::command::{self, Outcome, Reply};
use synod_protocol::message::{
    Accept, Chosen, Fetched, Message, ToAcceptor, ToClient, ToLearner, ToProposer, Wants,
};
use synod_protocol::{AcceptorId, DiskAt, Incarnations, NodeId, Slot, Value};
use xxhash_rust::xxh3::xxh3_64;

use super::Ledger;
use crate::coverage::{Coverage, Seen};
use crate::plan::Us;
use crate::violation::{Check, check};

impl Ledger {
    /// A reply reaches a client: it must be the one that the call had when it took effect (I7, I8).
    fn on_reply(&self, reply: &Reply) -> Check {
        match self.replies.get(&(reply.session, reply.sequence)) {
            Some(first) if !matches!(reply.outcome, Outcome::Refused(_)) => {
                check(first == reply, "I7", || format!("a client is told {reply:?}, the call did {first:?}"))
            }
            Some(_) => Ok(()),
            None => check(matches!(reply.outcome, Outcome::Refused(_)), "I8", || {
                format!("a client is told {reply:?} of a call that isn't chosen")
            }),
        }
    }

    /// A message leaves its sender: what it claims must be so.
    pub(crate) fn on_sent(&mut self, from: NodeId, message: &Message, now: Us, seen: &mut Coverage) -> Check {
        match (from, message) {
            (NodeId::Acceptor(id), Message::Proposer(message)) => {
                if matches!(message, ToProposer::Accepted(accepted) if accepted.full) {
                    seen.see(Seen::FullDisk);
                }
                self.on_sent_by_acceptor(id, message)
            }
            (NodeId::Proposer(_), Message::Acceptor(ToAcceptor::Accept(accept))) => {
                self.on_floor(accept.ballot, accept.floor)?;
                self.is_pinned(accept, seen)?;
                self.on_accept(accept)
            }
            (NodeId::Learner(id), Message::Proposer(ToProposer::Subscribe(subscribe))) => {
                match subscribe.wants {
                    Wants::AtOnce => {}
                    Wants::Late => seen.see(Seen::SubscribedLate),
                    Wants::Nothing => seen.see(Seen::SubscribedFar),
                }
                self.on_subscribe(id, subscribe.synced)?;
                self.on_pinned(id, subscribe.next, subscribe.pinned, now)
            }
            (NodeId::Learner(id), Message::Learner(ToLearner::SnapshotChunk(chunk))) => {
                self.pins.on_given(id, chunk.slot, now);
                Ok(())
            }
            (_, Message::Acceptor(ToAcceptor::Reached { rows, .. })) => self.on_positions(from, rows),
            (_, Message::Proposer(ToProposer::Propose(propose)))
            | (NodeId::Client(_), Message::Learner(ToLearner::Forward(propose))) => {
                self.note_proposed(&propose.commands);
                Ok(())
            }
            (_, Message::Learner(ToLearner::Chosen(chosen))) => self.on_chosen(from, chosen),
            (_, Message::Learner(ToLearner::Fetched(fetched))) => self.on_fetched(from, fetched),
            (_, Message::Client(ToClient::Replies(replies))) => {
                replies.iter().try_for_each(|reply| self.on_reply(reply))
            }
            (_, Message::Acceptor(_) | Message::Proposer(_) | Message::Learner(_) | Message::Client(_)) => {
                Ok(())
            }
        }
    }

    /// I4: what a promise or an accepted tells is durable when it leaves.
    fn on_sent_by_acceptor(&self, id: AcceptorId, message: &ToProposer) -> Check {
        let Some(durable) = self.durable.get(&id) else { return Ok(()) };
        let head = durable.head();
        let has_come = |disk: DiskAt| {
            check(head.position >= disk.position, "I4", || {
                format!(
                    "{id} tells that its disk has had {disk:?}, but {} records are durable",
                    head.position
                )
            })
        };
        match message {
            ToProposer::Promise(promise) => {
                has_come(promise.disk)?;
                check(head.promised >= promise.ballot && head.held >= promise.held, "I4", || {
                    format!("{id} promises {:?}, but {:?} is durable", promise.ballot, head.promised)
                })
            }
            ToProposer::Accepted(accepted) => {
                has_come(accepted.disk)?;
                let voted = |slot| {
                    slot < head.floor || durable.vote(slot).is_some_and(|vote| vote.ballot >= accepted.ballot)
                };
                let missing =
                    accepted.slots.iter().flat_map(|range| range.slots()).find(|slot| !voted(*slot));
                check(missing.is_none() && head.held >= accepted.held, "I4", || {
                    format!(
                        "{id} tells of a vote at {:?} that isn't durable: slot {missing:?}",
                        accepted.ballot
                    )
                })
            }
            ToProposer::Fetched(fetched) => self.on_fetched(id.into(), fetched),
            ToProposer::Admitted(admitted) => has_come(admitted.disk),
            ToProposer::Nack { .. }
            | ToProposer::ProbeReply { .. }
            | ToProposer::Propose(_)
            | ToProposer::Subscribe(_)
            | ToProposer::Settle { .. }
            | ToProposer::Readmit { .. }
            | ToProposer::Status { .. } => Ok(()),
        }
    }

    /// S12: no disk is said to be further on than it is.
    fn on_positions(&self, from: NodeId, rows: &Incarnations) -> Check {
        for (acceptor, row) in rows.rows() {
            let head = self.durable.get(&acceptor).map(|durable| durable.head());
            let position =
                head.filter(|head| head.formation.disk() == Some(row.disk)).map(|head| head.position);
            check(position.is_none_or(|position| position >= row.position), "S12", || {
                format!("{from} tells {row:?} of {acceptor}, of which {position:?} records are durable")
            })?;
        }
        Ok(())
    }

    /// S6: the prefix that a leader states is chosen; I1: a chosen slot is proposed again with its value only.
    fn on_accept(&self, accept: &Accept) -> Check {
        check(accept.chosen <= self.prefix(), "S6", || {
            format!("{:?} states {} as chosen, but {} is", accept.ballot, accept.chosen, self.prefix())
        })?;
        check(accept.floor <= accept.chosen.next(), "S11", || {
            format!(
                "{:?} drops the slots below {}, and has {} chosen",
                accept.ballot, accept.floor, accept.chosen
            )
        })?;
        for entry in &accept.entries {
            if let Some((ballot, value)) = self.chosen.get(&entry.slot) {
                check(*ballot >= accept.ballot || *value == entry.value, "I1", || {
                    format!(
                        "slot {} was chosen at {ballot:?}, {:?} proposes another value",
                        entry.slot, accept.ballot
                    )
                })?;
            }
        }
        Ok(())
    }

    fn on_chosen(&self, from: NodeId, chosen: &Chosen) -> Check {
        check(chosen.prefix <= self.prefix(), "S6", || {
            format!("{from} streams {} as chosen, but {} is", chosen.prefix, self.prefix())
        })?;
        self.are_chosen(from, chosen.first, &chosen.values)
    }

    fn on_fetched(&self, from: NodeId, fetched: &Fetched) -> Check {
        check(fetched.held <= self.prefix(), "S6", || {
            format!("{from} holds {} as chosen, but {} is", fetched.held, self.prefix())
        })?;
        self.are_chosen(from, fetched.first, &fetched.values)
    }

    fn are_chosen(&self, from: NodeId, first: Slot, values: &[Value]) -> Check {
        for (offset, value) in (0..).zip(values) {
            let slot = first.plus(offset);
            let chosen = self.chosen.get(&slot).is_some_and(|(_, chosen)| chosen == value);
            check(chosen, "I13", || format!("{from} hands out a value for slot {slot} that isn't chosen"))?;
        }
        Ok(())
    }

    fn note_proposed(&mut self, commands: &Value) {
        for (command, _) in command::pieces(commands, 1, usize::MAX).into_iter().flatten() {
            let hash = xxh3_64(command.bytes());
            if self.proposed.insert(hash) && self.watching {
                self.fresh.insert(hash);
            }
        }
    }
}
