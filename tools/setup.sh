# shellcheck shell=bash disable=SC2034,SC2086 # lists of packages are words, used where this is sourced
# What quickstart.sh and test.sh share: installing what is missing, timed steps, the test's Python.
# Sourced with bash from the repository's root. Everything noisy goes to files in build/logs/.

log_dir=build/logs
mkdir -p "$log_dir" || exit 1

# Debian packages. Each is probed by what it is needed for, so that another provider of it counts.
build_packages='gcc libc6-dev make pkg-config libjansson-dev'
optional_packages='libedit-dev libcurl4-openssl-dev libevent-dev libssl-dev
    libjs-marked node-dompurify libjs-highlight.js'
fetch_packages='python3 python3-pip ca-certificates'
test_packages='g++ clang-format libcmocka-dev libpcre2-dev python3-venv openssl chromium chromium-driver
    bible-kjv miscfiles manpages manpages-dev'
long_test_packages='clang'

is_there() {
    case $1 in
    gcc | g++ | make | pkg-config | python3 | clang | openssl | chromium) command -v "$1" ;;
    chromium-driver) command -v chromedriver ;;
    clang-format) command -v clang-format-14 || command -v clang-format ;;
    libc6-dev) [ -f /usr/include/stdio.h ] ;;
    ca-certificates) [ -f /etc/ssl/certs/ca-certificates.crt ] ;;
    python3-pip) python3 -m pip --version ;;
    python3-venv) python3 -c 'import ensurepip, venv' ;;
    libjansson-dev) pkg-config --exists jansson ;;
    bible-kjv) command -v bible ;;
    miscfiles) [ -f /usr/share/misc/countries.gz ] ;;
    manpages) [ -f /usr/share/man/man7/signal.7.gz ] ;;
    manpages-dev) [ -f /usr/share/man/man3/printf.3.gz ] ;;
    libpcre2-dev) pkg-config --exists libpcre2-8 ;;
    libedit-dev) pkg-config --exists libedit ;;
    libcurl4-openssl-dev) pkg-config --exists libcurl ;;
    libevent-dev) pkg-config --exists libevent_core ;;
    libssl-dev) pkg-config --exists openssl ;;
    libcmocka-dev) pkg-config --exists cmocka ;;
    libjs-marked) [ -f /usr/share/javascript/marked/marked.min.js ] ;;
    node-dompurify) [ -f /usr/share/nodejs/dompurify/dist/purify.min.js ] ;;
    libjs-highlight.js) [ -f /usr/share/javascript/highlight.js/highlight.min.js ] ;;
    *) false ;;
    esac >/dev/null 2>&1
}

# Those of the packages named that are missing.
missing_of() {
    local p
    for p in $*; do is_there "$p" || printf '%s ' "$p"; done
}

can_sudo() { sudo -n true 2>/dev/null || { [ -z "${CI:-}" ] && : </dev/tty; } 2>/dev/null; }

# Runs a command as root: directly, by sudo where it is there and will not wait for a password that
# nobody can type, or not at all (then the function fails).
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null && can_sudo; then
        sudo "$@"
    else
        return 126
    fi
}

apt_install() {
    command -v apt-get >/dev/null || return 127
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 update &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 \
            -o Dpkg::Use-Pty=0 install --no-install-recommends "$@"
}

# install_packages "REQUIRED..." "OPTIONAL...": fails, saying what to do, when a required one is
# missing and cannot be installed; without an optional one brisk is built with less.
install_packages() {
    local required optional
    required=$(missing_of $1)
    optional=$(missing_of $2)
    [ -n "$required$optional" ] || return 0
    apt_install $required $optional
    required=$(missing_of $1)
    if [ -n "$required" ]; then
        echo "These packages are missing: $required"
        echo "As root: apt-get update && apt-get install -y $required"
        return 1
    fi
    optional=$(missing_of $2)
    [ -z "$optional" ] || echo "Going on without: $optional"
    return 0
}

# The tests' Python: build/venv with the pinned packages of tests/requirements.txt. Debian's own pip
# installs nothing outside such an environment.
make_venv() {
    local wanted
    wanted=$(sha256sum <tests/requirements.txt)
    [ "$(cat build/venv/.installed 2>/dev/null)" = "$wanted" ] &&
        build/venv/bin/python -c 'import gguf, jinja2, numpy, prometheus_client, safetensors, selenium, sentencepiece, tokenizers' \
            2>/dev/null && return 0
    rm -rf build/venv
    python3 -m venv build/venv || return 1
    build/venv/bin/python -m pip install --disable-pip-version-check --no-input -q \
        -r tests/requirements.txt || return 1
    printf '%s\n' "$wanted" >build/venv/.installed
}

# The Python of the comparison with frameworks: build/clients.
make_clients_venv() {
    [ -x build/clients/bin/python ] || python3 -m venv build/clients || return 1
    build/clients/bin/python -m pip install --disable-pip-version-check --no-input -q \
        -r tests/server/requirements.txt
}

# Nanoseconds to "12.3".
seconds() {
    local tenths=$((($1 + 50000000) / 100000000))
    printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}
