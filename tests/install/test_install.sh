#!/usr/bin/env bash
# An installed copy is enough: `make install` to a folder of its own, examples/generate.c built
# against it through pkg-config (shared and static), examples/pipeline.c likewise, run on the model in
# BRISK_TEST_MODEL, and examples/matmul_threads.c, quantize_weights.c, kv_cache.c, train_mlp.c,
# lstm_lm.c, prune_compare.c and lm_prune_compare.c; what is installed
# is what is expected, and `make uninstall` leaves nothing.
set -u
cd "$(dirname "$0")/../.." || exit 1
model=${BRISK_TEST_MODEL:?where brisk pull puts the default model}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
prefix=$tmp/usr
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig

die() {
    echo "FAIL: $*"
    exit 1
}

make -s -j"$(nproc)" PREFIX="$prefix" install || die 'make install'
for f in bin/brisk include/brisk.h lib/libbrisk.a lib/libbrisk.so lib/libbrisk.so.0 \
    lib/pkgconfig/brisk.pc share/brisk/digits.csv share/brisk/README.md; do
    [ -s "$prefix/$f" ] || die "$f was not installed"
done
version=$(sed -n 's/^#define BRISK_VERSION "\(.*\)"/\1/p' "$prefix/include/brisk.h")
[ "$(pkg-config --modversion brisk)" = "$version" ] || die 'brisk.pc has another version'
"$prefix/bin/brisk" --version | grep -qF "$version" || die 'brisk --version'

# build NAME FLAG...: in a folder of its own, so that nothing of the tree is found by accident.
build() {
    local name=$1
    shift
    (cd "$tmp" && gcc -std=c11 -Wall -Wextra -Werror -o "$name" generate.c "$@") ||
        die "building $name"
}
cp examples/generate.c "$tmp" || die 'no examples/generate.c'
# shellcheck disable=SC2046 # flags are words
build shared $(pkg-config --cflags --libs brisk) -Wl,-rpath,"$prefix/lib"
# shellcheck disable=SC2046
build static $(pkg-config --cflags brisk) "$prefix/lib/libbrisk.a" \
    $(pkg-config --static --libs brisk | sed 's/-lbrisk//')
ldd "$tmp/shared" | grep -q "$prefix/lib/libbrisk.so.0" || die 'shared does not use libbrisk.so.0'
ldd "$tmp/static" | grep -q libbrisk && die 'static needs libbrisk.so'

for name in shared static; do
    "$tmp/$name" "$model" 'Name three uses of a paper clip.' >"$tmp/$name.txt" </dev/null ||
        die "running $name"
    [ "$(wc -w <"$tmp/$name.txt")" -ge 5 ] || die "$name said too little"
done
cmp "$tmp/shared.txt" "$tmp/static.txt" || die 'shared and static differ'

# The stages of docs/questions/q01.md, from the installed library.
cp examples/pipeline.c "$tmp" || die 'no examples/pipeline.c'
# shellcheck disable=SC2046
(cd "$tmp" && gcc -std=c11 -Wall -Wextra -Werror -o pipeline pipeline.c \
    $(pkg-config --cflags --libs brisk) -lm -Wl,-rpath,"$prefix/lib") || die 'building pipeline'
"$tmp/pipeline" "$model" 'The capital of France is' >"$tmp/pipeline.txt" || die 'running pipeline'
for stage in tokenise: embed: layers: loss: head: sample: '" Paris"'; do
    grep -qF "$stage" "$tmp/pipeline.txt" || die "pipeline does not show $stage"
done

# One thread against several, of docs/questions/q08.md: it compares its results itself.
cp examples/matmul_threads.c "$tmp" || die 'no examples/matmul_threads.c'
# shellcheck disable=SC2046
(cd "$tmp" && gcc -std=c11 -Wall -Wextra -Werror -o matmul_threads matmul_threads.c \
    $(pkg-config --cflags --libs brisk) -lm -Wl,-rpath,"$prefix/lib") || die 'building matmul_threads'
"$tmp/matmul_threads" 3 256 >"$tmp/matmul_threads.txt" || die 'running matmul_threads'
[ "$(grep -c '3 threads .* the same bits' "$tmp/matmul_threads.txt")" -eq 4 ] ||
    die 'matmul_threads does not show four types'

# Weights to integers and back, of docs/questions/q07.md.
cp examples/quantize_weights.c "$tmp" || die 'no examples/quantize_weights.c'
# shellcheck disable=SC2046
(cd "$tmp" && gcc -std=c11 -Wall -Wextra -Werror -o quantize_weights quantize_weights.c \
    $(pkg-config --cflags --libs brisk) -lm -Wl,-rpath,"$prefix/lib") || die 'building quantize_weights'
"$tmp/quantize_weights" >"$tmp/quantize_weights.txt" || die 'running quantize_weights'
[ "$(grep -c 'relative error 0\.' "$tmp/quantize_weights.txt")" -eq 4 ] ||
    die 'quantize_weights does not show four ways'

# With and without keys and values kept, of docs/questions/q04.md: it compares the answers itself.
cp examples/kv_cache.c "$tmp" || die 'no examples/kv_cache.c'
# shellcheck disable=SC2046
(cd "$tmp" && gcc -std=c11 -Wall -Wextra -Werror -o kv_cache kv_cache.c \
    $(pkg-config --cflags --libs brisk) -Wl,-rpath,"$prefix/lib") || die 'building kv_cache'
"$tmp/kv_cache" tests/data/tiny_chat.gguf >"$tmp/kv_cache.txt" || die 'running kv_cache'
grep -q '255 tokens shared' "$tmp/kv_cache.txt" || die 'kv_cache shared nothing'

# Learning, of docs/training.md, from the installed digits; the program finds them itself.
cp examples/train_mlp.c "$tmp" || die 'no examples/train_mlp.c'
# shellcheck disable=SC2046
(cd "$tmp" && gcc -std=c11 -Wall -Wextra -Werror -o train_mlp train_mlp.c \
    $(pkg-config --cflags --libs brisk) -Wl,-rpath,"$prefix/lib") || die 'building train_mlp'
"$tmp/train_mlp" "$prefix/share/brisk/digits.csv" "$tmp/digits.gguf" 300 >"$tmp/train_mlp.txt" ||
    die 'running train_mlp'
grep -q "^step  300: .* 9[4-9]\.[0-9] % of them right" "$tmp/train_mlp.txt" ||
    die 'train_mlp learned too little'
[ "$(grep -c "^example . is '\(.\)': '\1'" "$tmp/train_mlp.txt")" -ge 4 ] ||
    die 'train_mlp does not tell digits'
cp examples/lstm_lm.c "$tmp" || die 'no examples/lstm_lm.c'
# shellcheck disable=SC2046
(cd "$tmp" && gcc -std=c11 -Wall -Wextra -Werror -o lstm_lm lstm_lm.c \
    $(pkg-config --cflags --libs brisk) -lm -Wl,-rpath,"$prefix/lib") || die 'building lstm_lm'
"$tmp/lstm_lm" tests/data/prose.txt "$tmp/lm.gguf" 60 'The ' >"$tmp/lstm_lm.txt" ||
    die 'running lstm_lm'
grep -q '^step   60: .* on unseen text [12]\.' "$tmp/lstm_lm.txt" || die 'lstm_lm learned too little'
grep -q '^200 characters, ' "$tmp/lstm_lm.txt" || die 'lstm_lm wrote too little'
for name in prune_compare lm_prune_compare; do
    cp "examples/$name.c" "$tmp" || die "no examples/$name.c"
    # shellcheck disable=SC2046
    (cd "$tmp" && gcc -std=c11 -Wall -Wextra -Werror -o "$name" "$name.c" \
        $(pkg-config --cflags --libs brisk) -Wl,-rpath,"$prefix/lib") || die "building $name"
done
"$tmp/lm_prune_compare" tests/data/prose.txt "$tmp" 10 >"$tmp/lm_prune.txt" ||
    die 'running lm_prune_compare'
[ "$(grep -cE '^(lstm|transformer) +[a-z]+ +0\.[0-9]+ .* [0-9.]+x +[0-9]\.[0-9]+ +[0-9]' "$tmp/lm_prune.txt")" = 30 ] ||
    die 'lm_prune_compare prints another table'
"$tmp/prune_compare" "$tmp/transformer.gguf" tests/data/prose.txt tests/data/prose.txt q8_0 \
    prune:channels:0.25 prune:channels:0.25+q8_0 >"$tmp/prune.txt" 2>"$tmp/prune.log" || die 'running prune_compare'
[ "$(grep -c '^  prune:channels:0.25.* \(dominated\|worth it\)\|^  no dense' "$tmp/prune.txt")" = 2 ] ||
    die 'prune_compare has no verdicts'
(cd "$tmp" && "$prefix/bin/brisk" train mlp --steps 20) >"$tmp/mlp.txt" || die 'brisk train mlp'
grep -q '64 columns, 10 classes' "$tmp/mlp.txt" || die 'brisk train mlp found other data'

make -s PREFIX="$prefix" uninstall || die 'make uninstall'
left=$(find "$prefix" -type f -o -type l)
[ -z "$left" ] || die "left behind: $left"

# Packagers install under DESTDIR; the .pc file must not name it.
make -s PREFIX=/usr DESTDIR="$tmp/stage" install || die 'make install DESTDIR'
grep -q '^prefix=/usr$' "$tmp/stage/usr/lib/pkgconfig/brisk.pc" || die 'prefix in brisk.pc'
grep -rqF "$tmp" "$tmp/stage/usr/lib/pkgconfig" && die 'DESTDIR in brisk.pc'
echo 'install: all steps passed'
