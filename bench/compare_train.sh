#!/usr/bin/env bash
# compare_train.sh: brisk's training beside PyTorch's on this machine, two threads, float32. Builds a
# Python environment with PyTorch (2.5 GB, once) unless BRISK_TORCH_PYTHON names one. docs/bench.md has
# results.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

usage() {
    cat <<'EOF'
usage: bench/compare_train.sh [options]

  --text FILE       what is learned (the King James text of Debian's bible-kjv, where installed)
  --only PATTERN    rows: 'lstm*', 'llama*', 'decode*' (all)
  --rounds N        in which all take turns (3)
  -t N              threads of all (2)
  --json FILE       everything that was measured

BRISK_TORCH_PYTHON=PROGRAM is a Python with torch, numpy, safetensors and gguf; else build/torch is made.
BRISK=PROGRAM takes another brisk. exit status: 0 measured; 1 something could not be set up; 2 usage
EOF
}

die() {
    printf 'bench/compare_train.sh: %s\n' "$*" >&2
    exit 1
}

text=
rest=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage && exit 0 ;;
    --text | --only | --rounds | -t | --threads | --json)
        [ $# -ge 2 ] || { usage >&2 && exit 2; }
        if [ "$1" = --text ]; then text=$2; else rest+=("$1" "$2"); fi
        shift 2
        ;;
    *) usage >&2 && exit 2 ;;
    esac
done

python=${BRISK_TORCH_PYTHON:-build/torch/bin/python}
if [ -z "${BRISK_TORCH_PYTHON:-}" ] && ! "$python" -c 'import torch, gguf, safetensors' 2>/dev/null; then
    python3 -m venv build/torch && build/torch/bin/pip install -q torch numpy safetensors gguf ||
        die 'PyTorch could not be installed into build/torch'
fi
"$python" -c 'import torch, gguf, safetensors' || die "$python lacks torch, gguf or safetensors"

if [ -z "$text" ]; then
    command -v bible >/dev/null || die 'no text: install bible-kjv or name a file with --text'
    mkdir -p build/bench
    text=build/bench/kjv.txt
    [ -s "$text" ] || bible -f -l 1000 gen1:1-lev27:34 >"$text" || die 'bible printed nothing'
fi
exec "$python" -W ignore bench/compare_train.py --brisk "${BRISK:-build/brisk}" --text "$text" \
    ${rest[@]+"${rest[@]}"}
