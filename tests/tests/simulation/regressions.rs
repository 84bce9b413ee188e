//! Seeds that found bugs of ours, each with the bug planted again: the seed must still show it, and pass without it.

use synod_planted::{Bug, plant};
use synod_simulator::{Plan, run};
