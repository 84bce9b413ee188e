#!/usr/bin/env bash
# Puts for long into a new cluster on this host while processes of every role are killed and restarted; prints over time how much
# memory and disk they take, and ends with a verdict: exit code 0 only if nothing acknowledged was lost, every bound was kept and
# the learners' hash chains are equal.
#   scripts/soak.sh --puts 20000000     256-byte values over a million keys
#   scripts/soak.sh --help              bounds, keys, kills, seed
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/supervisor.sh" soak "$@"
