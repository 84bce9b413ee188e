#!/usr/bin/env bash
# Builds the simulator in release mode, then runs seeds on all cores, shows progress and sums up what was seen:
#   scripts/simulate.sh --seeds 100000      so many seeds, from 1 on
#   scripts/simulate.sh --seed 7 --story    one seed again, message by message
#   scripts/simulate.sh --help              everything else
# Works from any directory; CARGO_TARGET_DIR is respected.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if ! command -v cargo >/dev/null; then
    echo "simulate.sh: cargo not found; install Rust (https://rustup.rs), then run this again" >&2
    exit 1
fi

target=${CARGO_TARGET_DIR:-$root/target}
echo "building synod-sim (release) into $target; the first time takes a few minutes" >&2
cargo build --locked --release --manifest-path "$root/Cargo.toml" --package synod-simulator
exec "$target/release/synod-sim" "$@"
