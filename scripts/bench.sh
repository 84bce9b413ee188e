#!/usr/bin/env bash
# Builds Synod's programs in release mode, then measures clusters of them on this host: speed, latency, and what a call costs.
#   scripts/bench.sh                     puts of 256 bytes with 5 acceptors at 1, 64, 256 and 1,024 calls in flight
#   scripts/bench.sh --against etcd      the same, with etcd (from PATH) in the same rounds, and ratios
#   scripts/bench.sh --case puts --in-flight 1024 --value-bytes 256 --acceptors 5 --json     one case, one JSON object
#   scripts/bench.sh --growth            aged, or with something lost, beside a fresh cluster; also --overload, --gap, --join
#   scripts/bench.sh --help              everything else
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if ! command -v cargo >/dev/null; then
    echo "bench.sh: cargo not found; install Rust (https://rustup.rs), then run this again" >&2
    exit 1
fi

packages=(synod-acceptor synod-proposer synod-learner synod-bench)
target=${CARGO_TARGET_DIR:-$root/target}
echo "building ${packages[*]} (release) into $target; the first time takes a few minutes" >&2
cargo build --release --manifest-path "$root/Cargo.toml" "${packages[@]/#/--package=}"
exec "$target/release/synod-bench" "$@"
