//! Synod's session client and the synod command.
