#!/usr/bin/env bash
# compare.sh: brisk beside llama.cpp on this machine. Builds the pinned peer in a throw-away folder
# (about 8 minutes, once), runs both in interleaved rounds, prints medians and ratios and judges them.
# docs/bench.md explains what is measured.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

usage() {
    cat <<'EOF'
usage: bench/compare.sh [options]

  -m MODEL          GGUF file (BRISK_TEST_MODEL, else the default model, fetched where missing)
  -t N              threads of both engines (2)
  -p N, -n N        tokens of prefill and of decode (512, 64)
  --rounds N        rounds, each with every engine in turn (5)
  --all             also the same model as Q4_0 and Q8_0, made by the peer's llama-quantize, Gemma 3
                    270M, the shape qwen2.5-0.5b:Q4_K_M, and --long --parallel 16 --few (20 minutes)
  --also FILE       also this file; may be repeated
  --long            also prefill of 8,192 tokens and decode after them, with the first file
  --parallel N      also N sequences that decode at once, with the first file; may be repeated
  --few             also prompts of 1, 4 and 8 tokens, with the first file
  --shape NAME[:TYPE]
                    also a file with the shape of a published model and random weights, of this type
                    (Q4_0); bench/make_model.py --list has the names; may be repeated
  --quality         also the perplexity of both on one text
  --truth           also their KL divergence from a float64 pass (implies --quality)
  --json FILE       everything that was measured
  --markdown        rows for docs/bench.md at the end
  --peer FOLDER     where the peer is built and made files are kept (build/peer)
  --known-peers F, --targets F
                    other tables than bench/known_peers.tsv and bench/targets.tsv
  --smoke           one short round without a verdict: does all of this still run?

BRISK_PEER_BIN=FOLDER takes programs of the peer that are built already. BRISK=PROGRAM takes another
brisk. Both engines use as many threads, the file lies in the page cache, no prompt is cached.

exit status: 0 measured, targets met; 1 something could not be set up or run; 2 usage; 3 the peer is
more than 20 % below what bench/known_peers.tsv says for this CPU; 4 a target is missed
EOF
}

die() {
    printf 'bench/compare.sh: %s\n' "$*" >&2
    exit 1
}

model=${BRISK_TEST_MODEL:-}
peer=build/peer
numpy=0 # whether build/venv is needed
all=0
pass=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage && exit 0 ;;
    -m | --model | --shape | --also | --parallel | --peer | -t | -p | -n | --rounds | --json | --known-peers | --targets)
        if [ $# -lt 2 ]; then
            echo "bench/compare.sh: $1 needs a value" >&2
            exit 2
        fi
        case $1 in
        -m | --model) model=$2 ;;
        --peer) peer=$2 ;;
        --shape) numpy=1 && pass+=("$1" "$2") ;;
        *) pass+=("$1" "$2") ;;
        esac
        shift 2
        ;;
    --truth)
        numpy=1
        pass+=("$1")
        shift
        ;;
    --all)
        numpy=1 && all=1
        pass+=("$1")
        shift
        ;;
    --long | --few | --quality | --markdown | --smoke) pass+=("$1") && shift ;;
    *)
        echo "bench/compare.sh: unknown option '$1'; --help lists them" >&2
        exit 2
        ;;
    esac
done

. tools/setup.sh

. bench/peer.sh
find_peer
find_brisk
if [ $all -eq 1 ]; then
    gemma=${BRISK_TEST_GEMMA:-$("$brisk" pull gemma3-270m </dev/null)} || die 'Gemma 3 could not be fetched'
    pass+=(--also "$gemma")
fi
[ $numpy -eq 0 ] || quietly 'python packages' compare-venv.log make_venv

mkdir -p "$peer" || exit 1
exec python3 bench/compare.py --brisk "$brisk" --peer-bin "$peer_bin" --work "$peer" \
    -m "$model" ${pass[@]+"${pass[@]}"}
