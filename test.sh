#!/usr/bin/env bash
# test.sh [--full]: sets up what is missing, runs every test and prints one line for each; the log of a
# failing one is printed at once. The last line is "N passed, N failed".
#   --full   also what is long: a minute of fuzzing per target, the benchmark against the peer
# Logs are in build/logs/. A piece that is missing is a failure.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
. tools/setup.sh

full=0
case ${1:-} in
'') ;;
--full) full=1 ;;
*)
    echo "usage: ./test.sh [--full]" >&2
    exit 2
    ;;
esac

# Comparisons with other implementations and tests of the program, one command a line, without
# quoting. Python is build/venv's. Each exits 0 when all is as it should be. The first list keeps one
# core busy while the second runs; the third waits for sockets and browsers most of the time.
text_tests=(
    'tests/tokenizer/compare_hf.py --dump build/release/tests/tokenizer/tok_dump'
    'tests/tokenizer/compare_sp.py --dump build/release/tests/tokenizer/tok_dump'
    'tests/tokenizer/compare_vocab.py --dump build/release/tests/tokenizer/tok_dump --make build/release/tests/tokenizer/vocab_dump'
    'tests/template/compare_jinja2.py build/release/tests/template/render'
    'tests/template/compare_peer.py build/release/tests/template/render'
    'tests/quant/compare_gguf.py build/release/tests/quant/quantize'
    'tests/quant/test_affine.py build/release/brisk tests/data/tiny_chat.gguf'
    'tests/gguf/test_broken.py'
    'tests/convert/test_convert.py'
    'tests/convert/test_lstm.py'
)
python_tests=(
    'tests/cli/test_cli.py'
    'tests/cli/test_models.py'
    'tests/cli/test_train_mlp.py'
    'tests/cli/test_quantize.py'
    'tests/compress/compare_numpy.py build/release/tests/compress/matrices'
    'tests/compress/test_prune.py'
    'tests/train/test_train.py'
    'tests/train/test_repair.py build/release/brisk'
    'tests/cli/test_head.py'
    'tests/cli/test_profile.py'
    'tests/cli/test_bench_matmul.py'
    'tests/cli/test_sparse.py'
    'tests/bench/test_compare.py'
    'tests/bench/test_texts.py'
    'tests/measure/test_eval.py'
    'tests/cli/test_compare.py'
    'tests/truth/test_truth.py'
    'tests/server/test_openai.py'
    'tests/server/test_isolation.py'
    'tests/server/test_memory.py'
    'tests/server/test_shares.py'
    'tests/server/test_metrics.py build/release/tests/server/metrics_dump'
)
waiting_tests=(
    'tests/server/test_http.py'
    'tests/cli/test_bench_serve.py'
    'tests/pull/test_fetch.py'
    'tests/pull/test_pull.sh'
    'tests/server/test_page.py'
)
shell_tests=(
    'tests/tools/test_tools.sh'
    'tests/install/test_install.sh'
)

passed=0
failed=0
jobs=$(nproc)
export BRISK_TEST_JOBS=$jobs BRISK=build/brisk PYTHON=build/venv/bin/python
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1

# step NAME COMMAND...
step() {
    local name=$1 log start status
    shift
    log=$log_dir/$(printf '%s' "$name" | tr ' /' '--').log
    start=$(date +%s%N)
    "$@" >"$log" 2>&1 </dev/null
    status=$?
    if [ $status -eq 0 ]; then
        passed=$((passed + 1))
        printf 'PASS %-44s %6s s\n' "$name" "$(seconds $(($(date +%s%N) - start)))"
    else
        failed=$((failed + 1))
        printf 'FAIL %-44s %6s s, exit status %d; the end of %s:\n' "$name" \
            "$(seconds $(($(date +%s%N) - start)))" $status "$log"
        tail -n 40 "$log" | sed 's/^/    /'
    fi
}

run_test() {
    local with=build/venv/bin/python
    [ "${1%.sh}" = "$1" ] || with=
    # shellcheck disable=SC2086 # words
    step "$(name_of $1)" timeout 600 $with $1
}

# The steps of the commands in the list, one after another, while others run; join prints their lines and
# counts them.
beside() {
    local test
    for test in "$@"; do
        run_test "$test"
    done >"$log_dir/beside.txt" &
    beside=$!
}
join() {
    wait "$beside"
    cat "$log_dir/beside.txt"
    passed=$((passed + $(grep -c '^PASS ' "$log_dir/beside.txt")))
    failed=$((failed + $(grep -c '^FAIL ' "$log_dir/beside.txt")))
}

# tests/x/y.py --option: x/y.py
name_of() { printf '%s' "${1#tests/}"; }

pull() { PYTHON=python3 build/brisk pull; }

build() {
    local mode=$1
    shift
    make -j"$jobs" MODE="$mode" "$@"
}

# Without any optional library, and without optimisation since nothing of it runs for long.
build_minimal() {
    make -j"$jobs" MODE=debug BUILD=build/minimal HAVE_LIBEDIT=0 HAVE_CURL=0 HAVE_PCRE2=0 \
        HAVE_LIBEVENT=0 HAVE_OPENSSL=0 HAVE_PAGE=0 all && build/minimal/debug/brisk --version
}

fuzz_target() {
    local name=$1
    mkdir -p "build/fuzz/corpus/$name"
    "build/fuzz/tests/fuzz/fuzz_$name" -max_total_time=60 -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix="build/fuzz/$name-" "build/fuzz/corpus/$name" "tests/fuzz/corpus/$name"
}

packages="$build_packages $fetch_packages $test_packages"
[ $full -eq 0 ] || packages="$packages $long_test_packages"
step 'packages' install_packages "$packages" "$optional_packages"
if [ -n "$(missing_of "$build_packages")" ]; then
    echo "$passed passed, $failed failed"
    exit 1
fi
step 'python packages' make_venv

for check in format-check layers banned docs headers; do step "$check" make "$check"; done
step 'build release' build release all tests
step 'model' pull
BRISK_TEST_MODEL=$(pull 2>/dev/null)
export BRISK_TEST_MODEL
step 'build without optional libraries' build_minimal
step 'symbols' make symbols
step 'size' make size
step 'units' make check-unit
step 'kernels' make check-kernels
step 'fuzz corpus' make check-fuzz
beside "${waiting_tests[@]}"
for mode in asan tsan; do # asan has the checks of ubsan too
    step "build $mode" build $mode tests
    step "$mode units" make MODE=$mode check-unit
    [ $mode = tsan ] && continue
    step "$mode kernels" make MODE=$mode check-kernels
    step "$mode fuzz corpus" make MODE=$mode check-fuzz
done
join
beside "${text_tests[@]}"
for test in "${python_tests[@]}" "${shell_tests[@]}"; do run_test "$test"; done
join

# serve_load MODE: a server with that mode's checks, kept busy for half a minute; any report ends it.
serve_load() {
    build "$1" "build/$1/brisk" &&
        BRISK=build/$1/brisk build/venv/bin/python tests/server/test_isolation.py --load 30
}

if [ $full -eq 1 ]; then
    for mode in asan tsan; do step "$mode server load" serve_load $mode; done
    step 'client packages' make_clients_venv
    for test in clients lm_eval; do
        step "server/test_$test.py" timeout 600 build/clients/bin/python "tests/server/test_$test.py"
    done
    step 'build fuzz' make -j"$jobs" fuzz
    for target in tests/fuzz/fuzz_*.c; do
        name=$(basename "$target" .c)
        step "fuzz ${name#fuzz_}" fuzz_target "${name#fuzz_}"
    done
    step 'templates, all conversations' build/venv/bin/python tests/template/compare_peer.py \
        build/release/tests/template/render --full
    step 'bench/compare.sh' bench/compare.sh --smoke # builds the peer
    export BRISK_PEER_BIN=${BRISK_PEER_BIN:-build/peer/bin}
    BRISK_TEST_GEMMA=$(PYTHON=python3 build/brisk pull gemma3-270m 2>/dev/null)
    export BRISK_TEST_GEMMA
    step 'truth, peer' build/venv/bin/python tests/truth/test_truth.py --full --only peer
    step 'truth, Gemma 3' build/venv/bin/python tests/truth/test_truth.py --only 'gemma 3'
    step 'train, peer' timeout 7200 build/venv/bin/python tests/train/test_train.py --full
    step 'convert, peer' build/venv/bin/python tests/convert/test_convert.py
    # torch is gigabytes: only where somebody has it.
    [ -z "${BRISK_HF_PYTHON:-}" ] ||
        step 'truth/compare_hf.py' "$BRISK_HF_PYTHON" tests/truth/compare_hf.py
fi

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
