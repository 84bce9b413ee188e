//! What Synod promises, shown on real processes: killed, restarted, misled and starved, while clients go on.
//!
//! Small scale, side by side, each test with a cluster of its own. Nothing is asserted about how long something takes but that it
//! ends; times worth knowing are printed (`--nocapture`). `SYNOD_PROCESS_SEED` replays the random choices of a run.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod backups;
mod command;
mod disk_engine;
mod full_disk;
mod healing;
mod identity;
mod learners;
mod linearizable;
mod lossy;
mod mounted;
mod readmission;
mod readmission_steps;
mod service;
mod steady;
mod strangers;
mod supervisor;
mod votes;
