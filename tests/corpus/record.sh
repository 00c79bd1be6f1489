#!/bin/bash
# Records the corpus anew: real clients talk to our endpoint while `bpftok record` listens.
#
#   tests/corpus/record.sh [CASE...]     as root, after `cargo xtask demo` has built everything
#
# A recording must not tell where it was made. So the clients run as nobody, in /, with an empty
# environment, from /usr/bin, and below as many shells as the agent looks up; and a recording that
# holds any other process is refused.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
bpftok=$target/release/bpftok
stage=$(mktemp --directory)
chmod 755 "$stage"
endpoint=
agent=

end() {
    [ -z "$agent" ] || kill "$agent"
    [ -z "$endpoint" ] || kill "$endpoint"
    rm --recursive "$stage"
}
trap end EXIT

mkdir "$stage/python" "$stage/node"
cp "$root"/tests/peers/python/{calls,transports}.py "$root"/tests/peers/node/{calls,fetch}.mjs "$stage"
cp --recursive "$target"/clients/python/lib/python3*/site-packages/. "$stage/python"
cp --recursive "$target/clients/node/node_modules" "$stage/node"
cat > "$stage/below" <<'SH'
n=$1
shift
if [ "$n" -eq 0 ]; then exec "$@"; fi
/bin/sh "$0" $((n - 1)) "$@"
exit $?
SH
chmod --recursive a+rX "$stage"

# Runs a client as said above.
client() {
    (cd / && exec env --ignore-environment PATH=/usr/bin:/bin PYTHONPATH="$stage/python" \
        BPFTOK_ENDPOINT="$url" BPFTOK_NODE_MODULES="$stage/node/node_modules" \
        SSL_CERT_FILE="$work/ca.pem" NODE_EXTRA_CA_CERTS="$work/ca.pem" CURL_CA_BUNDLE="$work/ca.pem" \
        setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all --bounding-set=-all \
        /bin/sh "$stage/below" 8 "$@")
}

python() { client /usr/bin/python3 -B "$stage/calls.py" "$@"; }
transports() { client /usr/bin/python3 -B "$stage/transports.py" "$@"; }
node() { client /usr/bin/node "$stage/calls.mjs" "$@"; }
# The newest Node, whose fetch speaks HTTP/2, in the place of the system's.
newest_node() {
    newest=$(echo "$target"/bpftok/programs/node-"$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')"/bin/node)
    (
        export -f client
        export stage url work newest
        unshare --mount bash -ec 'mount --bind "$newest" /usr/bin/node; client /usr/bin/node "$@"' - "$@"
    )
}
# A client with a TLS library that no probe knows (GnuTLS), at the host that a provider has in life.
wget() {
    echo '127.0.0.1 api.openai.com' > "$work/hosts"
    (
        export -f client
        export stage url work
        unshare --mount bash -ec 'mount --bind "$work/hosts" /etc/hosts; client "$@"' - \
            /usr/bin/wget --quiet --tries 1 --no-check-certificate --output-document /dev/null "$@"
    )
}
curl() { client /usr/bin/curl --silent --show-error --output /dev/null "$@"; }

# Starts the endpoint for a case, with its options; everything it makes lies in $work.
serve() {
    work=$stage/$1
    shift
    mkdir "$work"
    "$target/release/llm-endpoint" --dir "$work" "$@" > "$work/url" &
    endpoint=$!
    until [ -s "$work/url" ]; do sleep 0.05; done
    url=$(cat "$work/url")
    chmod a+rx "$work"
    chmod a+r "$work/ca.pem"
}

# Records until `stop`.
listen() {
    : > "$work/config.toml"
    "$bpftok" --config "$work/config.toml" record "$work/recording.bpftok" 2> "$work/said" &
    agent=$!
    until grep --quiet --no-messages ' ready ' "$work/said"; do
        kill -0 "$agent" || { cat "$work/said"; exit 1; }
        sleep 0.05
    done
}

# Runs a command, as far as it runs without an endpoint, and waits until that has made the agent
# hook its executable: a file of this path, which may be the second one.
hook() {
    local path=$1 times=$2
    shift 2
    "$@" > /dev/null
    for _ in $(seq 200); do
        [ "$(grep --count " hooked path=$path " "$work/said")" -lt "$times" ] || return 0
        sleep 0.05
    done
    cat "$work/said"
    return 1
}

stop() {
    sleep 0.5
    kill "$agent"
    wait "$agent"
    agent=
    kill "$endpoint"
    endpoint=
    /usr/bin/python3 "$root/tests/corpus/check.py" "$work/recording.bpftok" /usr/bin/curl \
        /usr/bin/node /usr/bin/openssl /usr/bin/wget "$(readlink --canonicalize /usr/bin/python3)"
    mkdir --parents "$root/tests/corpus/$1"
    cp "$work/recording.bpftok" "$work/served.jsonl" "$root/tests/corpus/$1"
    chmod 644 "$root/tests/corpus/$1"/*
    wc --bytes "$root/tests/corpus/$1/recording.bpftok"
}

json='content-type: application/json'
messages='"max_tokens":256,"messages":[{"role":"user","content":"How many tokens has a naïve café? 漢字"}]'
chat='"messages":[{"role":"user","content":"How many tokens has a naïve café? 漢字"}]'

curl_gzip() {
    curl --compressed --header "$json" --header 'x-api-key: not-a-key' \
        --data "{\"model\":\"claude-haiku\",$messages}" "$url/plan/gzip/v1/messages"
}

curl_sse_cut_everywhere() {
    curl --header "$json" --data "{\"model\":\"claude-haiku\",\"stream\":true,$messages}" \
        "$url/plan/chunked-5.split-7.deltas-2/v1/messages"
}

python_openai_stream_with_and_without_usage() {
    python openai chat --stream --include-usage --model gpt-5-mini
    python openai chat --stream --model gpt-5-mini
}

python_anthropic_async() {
    python anthropic-async messages --stream --connections 2 --calls 2 --model claude-sonnet
}

node_responses() {
    # Node carries OpenSSL in its own executable.
    hook /usr/bin/node 1 client /usr/bin/node --version
    node openai responses --model gpt-5 > /dev/null
    node openai responses --stream --calls 2 --model gpt-5
}

keep_alive_with_a_refused_call() {
    python stdlib chat --calls 3 --session corpus-session --plan gzip.random
    python anthropic messages --retries 1 --plan status-429
    python anthropic messages --stream --plan error-2
}

cut_streams() {
    python anthropic messages --stream --plan abort-3.deltas-6
    python openai chat --stream --plan abort-3.deltas-6
    python anthropic messages --stream --hang-up 5 --plan delay-50.deltas-30
}

expect_and_every_compression() {
    for encoding in deflate br zstd; do
        curl --compressed --header "$json" --header 'expect: 100-continue' \
            --data "{\"model\":\"gpt-5\",$chat}" "$url/plan/$encoding.chunked-64/v1/chat/completions"
    done
    curl --http1.0 --no-alpn --header "$json" --data "{\"model\":\"gpt-5\",$chat}" \
        "$url/plan/close/v1/chat/completions"
}

# On one connection, calls and requests that are none.
beside_other_requests() {
    curl --header "$json" --data "{\"model\":\"gpt-5\",$chat}" "$url/v1/messages/count_tokens" \
        --output /dev/null "$url/v1/chat/completions" --output /dev/null "$url/noise/3000" \
        --output /dev/null "$url/v1/chat/completions"
    curl "$url/v1/models"
}

# Two calls on one connection; listening begins in the middle of the first reply.
joined_midway() {
    curl --header "$json" --data "{\"model\":\"claude-haiku\",\"stream\":true,$messages}" \
        "$url/plan/delay-200.deltas-12/v1/messages" --output /dev/null \
        "$url/plan/deltas-3/v1/messages" &
    early=$!
    sleep 1
    listen
    wait "$early"
}

# The same host through two TLS libraries: one that is read, and one that is not.
not_decoded_beside_a_call() {
    local host=api.openai.com:${url##*:}
    curl --resolve "$host:127.0.0.1" --header "$json" --data "{\"model\":\"gpt-5\",$chat}" \
        "https://$host/v1/chat/completions"
    wget --header "$json" --post-data "{\"model\":\"gpt-5\",$chat}" \
        "https://$host/v1/messages/count_tokens"
}

# One stream after the other, then all at once.
curl_http2() {
    local body="{\"model\":\"claude-haiku\",\"stream\":true,$messages}"
    curl --compressed --header "$json" --data "$body" "$url/plan/gzip/v1/messages" \
        --output /dev/null "$url/plan/chunked-5.deltas-2/v1/messages"
    curl --parallel --header "$json" --data "$body" \
        "$url/plan/delay-20.deltas-6/v1/messages" --output /dev/null \
        "$url/plan/delay-30.deltas-4/v1/messages" --output /dev/null "$url/noise/3000" \
        --output /dev/null "$url/plan/status-429/v1/messages"
}

httpx_http2() {
    transports httpx chat --stream --calls 4 --model gpt-5-mini
}

node_http2() {
    hook /usr/bin/node 2 newest_node --version
    newest_node "$stage/fetch.mjs" responses --stream --calls 2 --model gpt-5
}

gemini_http2() {
    local host=generativelanguage.googleapis.com:${url##*:}
    local models=https://$host/v1beta/models
    local body='{"contents":[{"role":"user","parts":[{"text":"How many tokens has a naïve café? 漢字"}]}]}'
    curl --resolve "$host:127.0.0.1" --header "$json" --header 'x-goog-api-key: not-a-key' --data "$body" \
        "$models/gemini-2.5-pro:generateContent" --output /dev/null \
        "$models/gemini-2.5-flash:streamGenerateContent?alt=sse" --output /dev/null \
        "$models/gemini-2.5-flash:countTokens"
}

# What the heads of the second call refer to was said before.
joined_midway_http2() { joined_midway; }

websocket() {
    transports websockets responses --calls 2 --model gpt-5
}

websocket_deflate() {
    transports websockets-deflate responses --calls 3 --model gpt-5
}

# Listening begins in the middle of the first of three turns.
joined_midway_websocket() {
    transports websockets responses --calls 3 --model gpt-5 &
    early=$!
    sleep 1
    listen
    wait "$early"
}

all=(curl_gzip curl_sse_cut_everywhere python_openai_stream_with_and_without_usage
    python_anthropic_async node_responses keep_alive_with_a_refused_call cut_streams
    expect_and_every_compression beside_other_requests joined_midway
    not_decoded_beside_a_call curl_http2 httpx_http2 node_http2 gemini_http2 joined_midway_http2
    websocket websocket_deflate joined_midway_websocket)
[ $# -gt 0 ] || set -- "${all[@]}"
for name in "$@"; do
    case=${name//_/-}
    case $name in
        *_http2) serve "$case" --http2 ;;
        *_deflate) serve "$case" --plan deflate ;;
        joined_midway_websocket) serve "$case" --plan delay-150.deltas-6 ;;
        *) serve "$case" ;;
    esac
    case $name in
        joined_midway*) ;;
        *) listen ;;
    esac
    "$name"
    stop "$case"
done
echo "now: BLESS=1 cargo test -p agent-core --test golden, and look at the differences"
