//! A peer's state takes the place of this learner's own, whole and at once (I10).
//!
//! What rested on the slots in between is settled: clients that wait for replies hear those that the new state keeps (S9), sessions
//! that have ended meanwhile are told so, reads that waited for a slot are answered from the new state at the end of the batch (S10). Upholds S7: a
//! state is never replaced by an older one.

use synod_planted::Bug;
use synod_protocol::command::{Opened, SessionId};
use synod_protocol::message::{AttachState, ToClient};
use synod_protocol::{ClientId, Slot};
use synod_store::{StateMachine, Storage};
use tracing::{info, warn};

use crate::chains::History;
use crate::{Learner, Out};

impl<S: Storage> Learner<S> {
    /// Makes `machine` this learner's state, if it is newer.
    pub(crate) fn install(&mut self, machine: StateMachine<S>, effects: &mut Out) {
        let (before, slot) = (self.machine.applied(), machine.applied());
        self.end_transfer();
        if slot <= before && !synod_planted::is(Bug::SnapshotOverNewer) {
            return self.ignore_older_snapshot(slot);
        }
        info!(%before, %slot, "installed a peer's state");
        self.machine = machine;
        self.receiving.installed += 1;
        self.log.skip_to(slot.next());
        self.checkpoints.note_installed();
        self.giving.drop_image();
        self.giving.following.clear();
        if !synod_planted::is(Bug::HistoryOfOlderState) {
            self.history = History::of(slot, self.machine.chain());
            self.alarm.reset();
        }
        for (session, client) in self.attachments.opened_up_to(slot) {
            self.tell_of_session(session, client, effects);
        }
        for (nonce, client) in self.attachments.waiting_nonces() {
            if let Some(session) = self.machine.session_of(nonce) {
                self.attachments.detach_nonce(nonce);
                self.attachments.attach(session, client);
                effects.send(client, ToClient::Opened(Opened { nonce, session: Some(session) }));
            }
        }
        self.learn_waiting(effects);
    }

    /// What became of an attached session in slots that weren't applied one by one.
    fn tell_of_session(&mut self, session: SessionId, client: ClientId, effects: &mut Out) {
        if self.machine.is_open(session) {
            for reply in self.machine.all_kept_replies(session) {
                self.outgoing.reply(client, reply);
            }
            effects.send(client, ToClient::Attached { session: Some(session), state: AttachState::Open });
        } else {
            self.attachments.detach(session);
            self.outgoing.ended(client, session);
        }
    }

    /// The log was quicker.
    fn ignore_older_snapshot(&self, slot: Slot) {
        warn!(%slot, applied = %self.machine.applied(), "drops a snapshot that is older than its own state");
    }
}
