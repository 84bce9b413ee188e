//! Synod's learner: the state.
