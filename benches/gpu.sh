#!/usr/bin/env bash
# Everything that only a GPU can tell, in one go.
#
#   benches/gpu.sh build         on a machine with Rust: compiles the programs into target/gpu (no CUDA toolkit needed)
#   benches/gpu.sh run [FILE]    on a machine with the GPU, from the same folder: runs them and writes Markdown
#                                [default: docs/results/cuda-suite.md]
#
# The run has three parts, most important first: the backend suite of spring-model on CUDA, the parity folders on CUDA, and tokens per
# second on CUDA and on the CPU. Every program has a limit of time, so that a card that is lent for minutes is enough:
# SECONDS_EACH=120 [default]. The exit code is 1 if the suite or a parity folder fails or does not end.
set -euo pipefail
cd "$(dirname "$0")/.."
programs=target/gpu

build() {
    mkdir -p "$programs"
    local built
    # Built by `cargo test`, an example would be its tests.
    built=$({
        cargo test --release --package spring-model --features cuda --lib --test model \
            --no-run --message-format json-render-diagnostics
        cargo build --release --package spring-model --features cuda --example parity --example throughput \
            --message-format json-render-diagnostics
    } | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
    for file in $built; do
        local name
        name=$(basename "$file")
        strip -o "$programs/${name%%-*}" "$file"
    done
    ls -l "$programs"
}

# Runs a program in the folder of the compiled kernels: without them every process compiles its own.
limited() {
    (cd "$programs" && timeout -s KILL "${SECONDS_EACH:-120}" "./$1" "${@:2}" 2>&1)
}

run() {
    local out=${1:-docs/results/cuda-suite.md} failed=0 precision
    local -r fixtures=$PWD/crates/spring-model/tests/fixtures/parity
    export CARGO_MANIFEST_DIR=$PWD/crates/spring-model
    printf '[compilation]\ncache = "local"\n' >"$programs/cubecl.toml"
    {
        echo "# The suite on CUDA"
        echo
        echo "Written by \`benches/gpu.sh run\`."
        echo
        nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
        echo
        echo "## The backend suite"
        echo '```'
        limited model cuda:: --test-threads 1 || failed=1
        limited spring_model on_cuda --test-threads 1 || failed=1
        echo '```'
        echo "## Logits against transformers and PEFT"
        echo '```'
        for precision in f32 bf16 f16; do
            limited parity --device cuda --precision "$precision" "$fixtures"/* || failed=1
        done
        echo '```'
        echo "## Throughput"
        echo
        for precision in f32 bf16; do
            limited throughput --device cuda --precision "$precision" 5m 100m 1b || echo "(ended early: exit code $?)"
            echo
        done
        limited throughput --device cpu 5m 100m || echo "(ended early: exit code $?)"
    } >"$out"
    cat "$out"
    return "$failed"
}

case ${1:-} in
    build) build ;;
    run) shift && run "$@" ;;
    *) sed -n '2,12s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
