#!/usr/bin/env bash
# Fuzzes the targets of tests/tests/fuzz, guided by coverage (libFuzzer, through bolero). Any toolchain does; needs a C++ compiler.
#   scripts/fuzz.sh SECONDS [TARGET...]     so long for each target; of all targets if none is named
# What is found goes into the target's corpus, which is reduced to few files that reach the most code; what fails goes into
# `crashes` beside it, and the run ends with 1.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

say() { printf '== %s\n' "$*"; }

seconds=${1:?usage: scripts/fuzz.sh SECONDS [TARGET...]}
shift
targets=("$@")

# Instrumented, in a target folder of its own: other flags would rebuild everything each time.
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
coverage="$coverage -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
host=$(rustc -vV | sed -n 's/^host: //p')
program=$(
    RUSTFLAGS="--cfg fuzzing --cfg fuzzing_libfuzzer $coverage" CARGO_PROFILE_DEV_CODEGEN_UNITS=1 BOLERO_FUZZER=libfuzzer \
        cargo test --target "$host" --target-dir "${CARGO_TARGET_DIR:-target}/fuzz" -p synod-tests --test fuzz --no-run \
        --message-format json-render-diagnostics | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
)
[ -x "$program" ] || exit 1
if [ ${#targets[@]} = 0 ]; then
    mapfile -t targets < <(cd tests/tests/fuzz/__fuzz__ && for folder in *; do printf '%s\n' "${folder/__/::}"; done)
fi

# libFuzzer starts its program again, by the name it has, to reduce a corpus: under that name must be this target alone.
alone=$(mktemp)
trap 'rm -f "$alone"' EXIT
run() {
    printf '#!/bin/sh\nexec "%s" "%s" --exact --nocapture\n' "$program" "$1" >"$alone" && chmod +x "$alone"
    (BOLERO_FUZZER=libfuzzer BOLERO_LIBFUZZER_ARGS="$2" exec -a "$alone" "$program" "$1" --exact --nocapture)
}

most=150
failed=0
for target in "${targets[@]}"; do
    say "$target, $seconds seconds"
    folder=$PWD/tests/tests/fuzz/__fuzz__/${target/::/__}
    mkdir -p "$folder/corpus" "$folder/crashes"
    run "$target" "$folder/corpus -artifact_prefix=$folder/crashes/ -max_len=1024 -max_total_time=$seconds -print_final_stats=1" \
        2>&1 | grep -E 'DONE|panicked|held at once|SUMMARY|stat::number' || true
    if [ -n "$(ls "$folder/crashes")" ]; then
        say "$target FAILED: see $folder/crashes"
        failed=1
        continue
    fi
    rmdir "$folder/crashes"
    mv "$folder/corpus" "$folder/found"
    mkdir "$folder/corpus"
    if ! run "$target" "$folder/corpus $folder/found -set_cover_merge=1 -max_len=1024" >/dev/null 2>&1; then
        rm -r "$folder/corpus"
        mv "$folder/found" "$folder/corpus"
        say "$target: its corpus could not be reduced"
        failed=1
        continue
    fi
    rm -r "$folder/found"
    # The largest go if there are still too many to keep in the repository.
    find "$folder/corpus" -type f -printf '%s %p\n' | sort -n | tail -n +$((most + 1)) | cut -d' ' -f2- | xargs -r -d '\n' rm
    say "$target: $(find "$folder/corpus" -type f | wc -l) files"
done
exit "$failed"
