//! Starts, watches, kills and restarts Synod's daemons.
