#!/bin/sh
# Spark needs Java 17 or later: finds one, or installs Debian's where it may, or says what to do.
set -eu

version() {
    "$1" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1
}

found() {
    [ -n "$1" ] && command -v "$1" >/dev/null 2>&1 && [ "$(version "$1")" -ge 17 ] 2>/dev/null
}

if found "${JAVA_HOME:+$JAVA_HOME/bin/java}" || { [ -z "${JAVA_HOME:-}" ] && found java; }; then
    exit 0
fi

root=""
[ "$(id -u)" -eq 0 ] || root="sudo -n"
if command -v apt-get >/dev/null 2>&1 && $root true 2>/dev/null; then
    echo "Installing Java 17 (openjdk-17-jre-headless) for Spark"
    export DEBIAN_FRONTEND=noninteractive
    $root apt-get update -qq
    if $root apt-get install -qq -y openjdk-17-jre-headless >/dev/null && [ -z "${JAVA_HOME:-}" ] && found java; then
        exit 0
    fi
fi

echo "rlbake needs Java 17 or later for Spark: install it (Debian: apt-get install openjdk-17-jre-headless;" \
    "macOS: brew install openjdk@17) and point JAVA_HOME at it, or put it on the PATH. Then run this again." >&2
exit 1
