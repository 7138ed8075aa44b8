#!/usr/bin/env bash
# serve.sh: `brisk serve` beside llama-server on the same file with the same settings, in turn, under the
# load of `brisk bench serve`. docs/bench_serve.md explains the figures.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

usage() {
    cat <<'EOT'
usage: bench/serve.sh [options] [SCENARIO ...]

scenarios (all; each takes less than 100 seconds on two cores):
  sixteen   16 streams at once, prompts of 256 tokens, 128 out
  one       one stream after another
  mix       4 streams run, a prompt of 3,300 tokens arrives; pictures in the folder of --out
  mix40     the same with --itl-budget-ms 40, brisk alone
  prefix    32 users who share a system prompt of 1,000 tokens (8 on the peer)
  turns     the second turn of a conversation beside one as long that is new
  overload  three times as many requests as can be answered
  idle      1,000 connections that are open and silent
  cancel    a client leaves: when its slot is free

  -m MODEL      GGUF file (BRISK_TEST_MODEL, else the default model, fetched where missing)
  -t N          threads of both servers (2)
  --rounds N    each scenario on each server in turn, N times; medians count (1)
  --only SIDE   peer or brisk
  --stand-in    the peer on both sides: tries the script
  --out FOLDER  results, pictures, logs (build/serve)
  --peer FOLDER where the peer is built (build/peer)

BRISK_PEER_BIN=FOLDER takes programs of the peer that are built already. BRISK=PROGRAM takes another
brisk.

exit status: 0 measured, targets met; 1 something could not be set up or run; 2 usage; 4 a target is
missed
EOT
}

die() {
    printf 'bench/serve.sh: %s\n' "$*" >&2
    exit 1
}

model=${BRISK_TEST_MODEL:-}
peer=build/peer
out=build/serve
pass=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage && exit 0 ;;
    -m | --model | --peer | --out | -t | --rounds | --only)
        if [ $# -lt 2 ]; then
            echo "bench/serve.sh: $1 needs a value" >&2
            exit 2
        fi
        case $1 in
        -m | --model) model=$2 ;;
        --peer) peer=$2 ;;
        --out) out=$2 ;;
        *) pass+=("$1" "$2") ;;
        esac
        shift 2
        ;;
    --stand-in) pass+=("$1") && shift ;;
    -*)
        echo "bench/serve.sh: unknown option '$1'; --help lists them" >&2
        exit 2
        ;;
    *) pass+=("$1") && shift ;;
    esac
done

. tools/setup.sh
. bench/peer.sh
find_peer
find_brisk
exec python3 bench/serve.py --brisk "$brisk" --peer "$peer_bin/llama-server" -m "$model" --out "$out" \
    ${pass[@]+"${pass[@]}"}
