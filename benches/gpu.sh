#!/usr/bin/env bash
# Everything that only a GPU can tell, in one go.
#
#   benches/gpu.sh build         on a machine with Rust: compiles the programs into target/gpu (no CUDA toolkit needed)
#   benches/gpu.sh run [FILE]    on a machine with the GPU, from the same folder: runs them and writes Markdown
#                                [default: docs/results/cuda.md]
#
# The run has three parts: the backend suite of spring-model on CUDA, the parity folders in f32 and bf16 on CUDA, and tokens per
# second on CUDA and on the CPU. The exit code is 1 if the suite or parity in f32 fails.
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

run() {
    local out=${1:-docs/results/cuda.md} failed=0
    {
        echo "# CUDA"
        echo
        echo "Written by \`benches/gpu.sh run\`."
        echo
        nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
        echo
        echo "## The backend suite"
        echo '```'
        export CARGO_MANIFEST_DIR=$PWD/crates/spring-model
        "$programs/model" cuda:: --test-threads 1 2>&1 || failed=1
        "$programs/spring_model" on_cuda --test-threads 1 2>&1 || failed=1
        echo '```'
        echo "## Logits against transformers and PEFT"
        echo '```'
        "$programs/parity" --device cuda crates/spring-model/tests/fixtures/parity/* || failed=1
        "$programs/parity" --device cuda --precision bf16 crates/spring-model/tests/fixtures/parity/* || true
        echo '```'
        echo "## Throughput"
        echo
        local precision
        for precision in f32 bf16; do
            # Tuning the kernels of a new shape takes most of the time.
            timeout 150 "$programs/throughput" --device cuda --precision "$precision" 5m 100m 1b ||
                echo "(ended early with exit code $?)"
            echo
        done
        timeout 90 "$programs/throughput" --device cpu 5m 100m || echo "(ended early with exit code $?)"
    } >"$out"
    cat "$out"
    return "$failed"
}

case ${1:-} in
    build) build ;;
    run) shift && run "$@" ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
