#!/usr/bin/env bash
# The checks of the source find what they are for: each is run on a small tree with one fault.
set -u
cd "$(dirname "$0")/../.." || exit 1
root=$PWD
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
failed=0

complain() {
    echo "FAIL: $*"
    sed 's/^/    /' "$tmp/out"
    failed=1
}

# A tree that passes: one header and one source per folder named in a test.
fresh() {
    rm -rf "$tmp/tree"
    mkdir -p "$tmp/tree/src/base" "$tmp/tree/src/model" "$tmp/tree/src/cli" "$tmp/tree/include" \
        "$tmp/tree/examples" "$tmp/tree/tests"
    cp -r "$root/tools" "$tmp/tree/tools"
    cd "$tmp/tree" || exit 1
    echo 'int brisk_one(void);' >include/brisk.h
    echo 'int bk_base(void);' >src/base/base.h
    printf '#include "base/base.h"\nint bk_model(void) { return 1; }\n' >src/model/model.c
    printf '#include "brisk.h"\n#include "base/base.h"\n' >src/cli/main.c
}

# passes TOOL, fails TOOL TEXT
passes() { tools/"$1" >"$tmp/out" 2>&1 || complain "$1 on a good tree"; }
fails() {
    tools/"$1" >"$tmp/out" 2>&1 && complain "$1 passed; wanted: $2"
    grep -qF -- "$2" "$tmp/out" || complain "$1 did not say: $2"
}

fresh
passes layers
passes banned
passes check_headers

# layers: LINE in FILE gives TEXT
wrong_include() {
    fresh
    echo "$2" >>"$1"
    fails layers "$3"
}
wrong_include src/base/base.h '#include "model/model.h"' 'src/base/ may not include from src/model/'
wrong_include src/cli/main.c '#  include "model/model.h"' 'src/cli/ may not include from src/model/'
wrong_include src/model/model.c '#include "brisk.h"' 'public headers are for api'
wrong_include src/model/model.c '#include "other.h"' 'write it from src/'
wrong_include src/model/model.c '#include "../base/base.h"' 'write it from src/'
wrong_include include/brisk.h '#include "base/base.h"' 'include/ may include public headers only'
fresh
mkdir src/odd && echo 'int bk_x;' >src/odd/odd.c
fails layers 'src/odd/ is in no layer'
fresh
mkdir src/quant src/sys && echo '#include "sys/cpu.h"' >src/quant/quant.c
fails layers 'src/quant/ may not include from src/sys/'
mkdir src/kernel && echo '#include "sys/cpu.h"' >src/kernel/select.c && : >src/quant/quant.c
passes layers
echo '#include "sys/pool.h"' >>src/kernel/select.c
fails layers 'src/kernel/ may not include from src/sys/'

# banned: the same
wrong_code() {
    fresh
    printf '%s\n' "$2" >>"$1"
    fails banned "$3"
}
wrong_code src/model/model.c 'void f(char *a) { strcpy(a, "x"); }' 'strcpy() is banned'
wrong_code src/cli/main.c 'int f(char *a) { return atoi(a); }' 'atoi() is banned'
wrong_code src/model/model.c 'void f(void) { printf("x"); }' 'neither prints nor ends the process'
wrong_code src/model/model.c 'void f(void) { exit(1); }' 'neither prints nor ends the process'
wrong_code src/model/model.c 'void *f(void) { return malloc(1); }' 'use base/mem.h'
wrong_code src/model/model.c "/* TO""DO: later */" 'unfinished mark'
wrong_code src/model/model.c "$(printf 'int f(void) {\n'; yes '    ;' | head -n 100; echo '}')" \
    'function of 102 lines'
wrong_code src/model/model.c "$(yes '/* */' | head -n 801)" 'at most 800'
fresh
# Names in comments, strings and longer names are none of these.
cat >>src/model/model.c <<'C'
/* printf("x"); and malloc(1)
 * strcpy(a, b); */
const char *bk_s = "exit(1) // strcat(a, b)";
int bk_snprintf(int my_free(int));
C
passes banned

fresh
echo 'size_t brisk_two(void);' >>include/brisk.h
fails check_headers 'brisk.h does not compile alone'
fresh
echo 'int brisk_new(int class);' >>include/brisk.h
fails check_headers 'c++'

# check_docs: a link or a path that leads nowhere.
fresh
echo 'See [base](src/base/base.h) and `src/base/`.' >README.md
passes check_docs
echo 'See [base](src/base/gone.h).' >>README.md
fails check_docs 'link to src/base/gone.h'
echo 'See `src/gone/`.' >README.md
fails check_docs '`src/gone/` is not there'

# check_symbols: what is exported is what is declared.
fresh
symbols() {
    printf '%s\n' "$1" >x.c
    gcc -fPIC -c x.c -o x.o
    gcc -shared -o libx.so x.o
    ar rcs libx.a x.o
    tools/check_symbols "$PWD/libx.so" "$PWD/libx.a" >"$tmp/out" 2>&1
}
symbols 'int brisk_one(void) { return 1; }' || complain 'check_symbols on a good library'
symbols 'int brisk_two(void) { return 1; } int brisk_one(void) { return 1; }' &&
    complain 'extra symbol'
grep -q 'not declared in include/: brisk_two' "$tmp/out" || complain 'brisk_two not named'
symbols 'int bk_x(void) { return 1; }' && complain 'missing symbol'
grep -q 'but not exported: brisk_one' "$tmp/out" || complain 'brisk_one not named'
rm -f libx.a
symbols '__attribute__((visibility("hidden"))) int helper(void) { return 1; }
int brisk_one(void) { return helper(); }' && complain 'name without prefix'
grep -q 'without the prefix bk_ or brisk_: helper' "$tmp/out" || complain 'helper not named'

# run_tests: a test that fails, hangs or is missing is a failure.
fresh
printf '#!/bin/sh\nexit 0\n' >good
printf '#!/bin/sh\necho reason; exit 3\n' >bad
printf '#!/bin/sh\nsleep 30\n' >slow
chmod +x good bad slow
tools/run_tests ./good >"$tmp/out" 2>&1 || complain 'run_tests on a good test'
tools/run_tests ./good ./bad >"$tmp/out" 2>&1 && complain 'run_tests passed a failing test'
grep -q reason "$tmp/out" || complain 'no log of the failing test'
BRISK_TEST_TIMEOUT=1 tools/run_tests ./slow >"$tmp/out" 2>&1 && complain 'a test that hangs passed'
tools/run_tests >"$tmp/out" 2>&1 && complain 'no tests at all passed'

cd "$root" || exit 1
[ $failed -eq 0 ] && echo 'tools: all steps passed'
exit $failed
