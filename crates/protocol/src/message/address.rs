//! Who may be sent what: a typed id knows the messages of its role.

use super::{ToAcceptor, ToClient, ToLearner, ToProposer};
use crate::ids::{AcceptorId, ClientId, LearnerId, NodeId, ProposerId};

/// Any message, with the role that receives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// For an acceptor.
    Acceptor(ToAcceptor),
    /// For a proposer.
    Proposer(ToProposer),
    /// For a learner.
    Learner(ToLearner),
    /// For a client.
    Client(ToClient),
}

/// A typed id knows what may be sent to it.
pub trait Address: Copy + Into<NodeId> {
    /// What that role receives.
    type Message;
    /// The message with its role.
    fn wrap(message: Self::Message) -> Message;
}

macro_rules! address {
    ($id:ident, $message:ident, $variant:ident) => {
        impl Address for $id {
            type Message = $message;
            fn wrap(message: $message) -> Message {
                Message::$variant(message)
            }
        }
    };
}

address!(AcceptorId, ToAcceptor, Acceptor);
address!(ProposerId, ToProposer, Proposer);
address!(LearnerId, ToLearner, Learner);
address!(ClientId, ToClient, Client);
