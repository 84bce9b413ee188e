#!/usr/bin/env bash
# Everything that must hold before a change goes in; CI runs exactly this. Needs a Rust toolchain and a C linker, and installs
# what is missing of them where it can. Works on a clean clone and from any directory; CARGO_TARGET_DIR is respected.
#   scripts/check.sh                all steps
#   scripts/check.sh fmt clippy     only these (fmt clippy doc test)
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

say() { printf '== %s\n' "$*"; }

fail() {
    say "FAILED: $*"
    exit 1
}

# The linker comes from the distribution, formatter and linter come through rustup; each only if it is missing.
prepare() {
    if ! command -v cc >/dev/null; then
        say "no C linker: installing gcc"
        command -v apt-get >/dev/null || fail "no C linker (cc) and no apt-get: install gcc or clang, then run this again"
        local as_root=()
        [ "$(id -u)" = 0 ] || as_root=(sudo)
        "${as_root[@]}" apt-get update -q && "${as_root[@]}" apt-get install -qy --no-install-recommends gcc libc6-dev \
            || fail "gcc could not be installed: install it, then run this again"
    fi
    command -v cargo >/dev/null || fail "no cargo: install Rust (https://rustup.rs), then run this again"
    local component
    for component in rustfmt clippy; do
        if ! cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1; then
            say "installing $component"
            rustup component add "$component" || fail "$component could not be installed: install it, then run this again"
        fi
    done
}

step() {
    local name=$1
    shift
    local began=$SECONDS
    say "$name: $*"
    "$@" || fail "$name (after $((SECONDS - began)) s): $*"
    say "$name passed in $((SECONDS - began)) s"
}

run() {
    case $1 in
    fmt) step fmt cargo fmt --all --check ;;
    clippy) step clippy cargo clippy --locked --workspace --all-targets -- -D warnings ;;
    doc) RUSTDOCFLAGS="-D warnings" step doc cargo doc --locked --workspace --no-deps ;;
    test) step test cargo test --locked --workspace ;;
    *) fail "no step called $1; there are fmt, clippy, doc, test" ;;
    esac
}

prepare
[ $# -gt 0 ] || set -- fmt clippy doc test
for name in "$@"; do
    run "$name"
done
say "all passed in $SECONDS s: $*"
