//! What every Synod daemon shares: configuration, connections, timers, run loop, shutdown, logging.
