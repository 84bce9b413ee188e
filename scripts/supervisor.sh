#!/usr/bin/env bash
# Builds Synod's programs in release mode, then runs synod-supervisor with the arguments given:
#   scripts/supervisor.sh up        start the cluster of deploy/local.toml (5 acceptors, 3 proposers, 3 learners) on this host
#   scripts/supervisor.sh chaos     the same, and kill and restart acceptors at random
#   scripts/supervisor.sh demo      30 s of chaos under a workload, every answer checked, and a verdict
#   scripts/supervisor.sh --help    everything else
# Works from any directory; CARGO_TARGET_DIR is respected.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if ! command -v cargo >/dev/null; then
    echo "supervisor.sh: cargo not found; install Rust (https://rustup.rs), then run this again" >&2
    exit 1
fi

packages=(synod-acceptor synod-proposer synod-learner synod-client synod-supervisor)
target=${CARGO_TARGET_DIR:-$root/target}
echo "building ${packages[*]} (release) into $target; the first time takes a few minutes" >&2
cargo build --release --manifest-path "$root/Cargo.toml" "${packages[@]/#/--package=}"

# The default cluster file, wherever this is called from; --cluster and SYNOD_CLUSTER go before it.
export SYNOD_CLUSTER=${SYNOD_CLUSTER:-$root/deploy/local.toml}
exec "$target/release/synod-supervisor" "$@"
