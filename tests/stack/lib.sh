# Shared by the scripts in this folder: where things are, how a server is started, asked and stopped.
# shellcheck shell=bash disable=SC2034

stack_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=versions
. "$stack_here/versions"

# Where rustup and Go's own archive install, for a shell that has not heard of them.
for folder in "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin" /usr/local/go/bin; do
    case :$PATH: in *:"$folder":*) ;; *) [ ! -d "$folder" ] || PATH=$PATH:$folder ;; esac
done
export PATH
unset folder

# The cache lies outside of the clone, so that a fresh clone finds everything installed.
stack_cache=${TOWPATH_STACK_CACHE:-${HOME:-/root}/.cache/towpath-stack}
# What runs under another account, which can't look into root's home.
stack_open_cache=$stack_cache
[ "$(id -u)" != 0 ] || stack_open_cache=${TOWPATH_STACK_CACHE:-/var/cache/towpath-stack}
kafka_libs=$stack_cache/kafka-$kafka_version-$log4j_version
connect_libs=$stack_cache/connect-$kafka_version-$log4j_version
# A folder of plugins, each in a folder of its own.
connect_plugins=$stack_cache/connect-plugins-$debezium_version
versitygw=$stack_cache/versitygw-$versitygw_version/versitygw
toxiproxy=$stack_cache/toxiproxy-$toxiproxy_version/server
postgres_15=/usr/lib/postgresql/15
postgres_18=$stack_open_cache/postgres-$postgres_18_version
cargo_deny=$stack_cache/cargo-deny-$cargo_deny_version

# In the order of starting; stopping goes the other way.
stack_servers=(kafka s3 toxiproxy postgres connect)

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# The same flags in every script, so that nothing is built twice.
use_mold() {
    local host
    command -v mold > /dev/null || return 0
    host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${host}_RUSTFLAGS=-Clink-arg=-fuse-ld=mold"
}

# A port that nobody listens on, below the range from which the kernel picks ports for clients: while a fault
# test keeps a server down, no connection of somebody else can take its port.
free_port() {
    local low _ port taken=" ${ports_taken:-} "
    read -r low _ < /proc/sys/net/ipv4/ip_local_port_range
    [ "$low" -gt 12000 ] || low=32768
    for _ in {1..200}; do
        port=$((10000 + (RANDOM * 32768 + RANDOM) % (low - 10000)))
        case $taken in *" $port "*) continue ;; esac
        if ! (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then
            ports_taken="${ports_taken:-} $port"
            free_port=$port
            return
        fi
    done
    die "no free port found between 10000 and $low"
}

# A process is known by its pid and its start time: a pid alone may since belong to somebody else.
process_start() { sed 's/^.*) //' "/proc/$1/stat" 2> /dev/null | cut -d ' ' -f 20; }

# server_pid DIR SERVER: prints the pid if the process lives (a zombie does not), else fails.
server_pid() {
    local pid start state
    read -r pid start 2> /dev/null < "$1/pids/$2" || return 1
    [ "$(process_start "$pid")" = "$start" ] || return 1
    state=$(sed 's/^.*) //' "/proc/$pid/stat" 2> /dev/null | cut -d ' ' -f 1)
    [ -n "$state" ] && [ "$state" != Z ] || return 1
    echo "$pid"
}

# server_answers DIR SERVER: does it answer a real request? Each server's folder has the script that asks.
server_answers() { timeout 10 bash "$1/$2/ask" > /dev/null 2>&1; }

# server_launch DIR SERVER: starts the process and does not wait for it to be ready.
# setsid: Ctrl-C in the terminal of a test run must reach the tests, not the servers that they still need.
server_launch() {
    local dir=$1 server=$2 pid
    [ -f "$dir/$server/run" ] || die "$server was never set up in $dir: tests/stack/up --$server --dir $dir"
    mkdir -p "$dir/pids"
    setsid bash "$dir/$server/run" < /dev/null >> "$dir/$server/log" 2>&1 9>&- &
    pid=$!
    echo "$pid $(process_start "$pid")" > "$dir/pids/$server"
}

# server_wait DIR SERVER: returns when it answers; fails when its process is gone or the deadline has passed.
server_wait() {
    local dir=$1 server=$2 deadline=$((SECONDS + ${TOWPATH_STACK_TIMEOUT:-120}))
    until server_answers "$dir" "$server"; do
        if ! server_pid "$dir" "$server" > /dev/null; then
            tail -n 30 "$dir/$server/log" >&2 || true
            say "$server ended while it was starting; its last words are above, the rest is in $dir/$server/log"
            return 1
        fi
        if [ "$SECONDS" -ge "$deadline" ]; then
            timeout 10 bash "$dir/$server/ask" >&2 || true
            say "$server does not answer: the last attempt is above, see also $dir/$server/log"
            return 1
        fi
        sleep 0.1
    done
}

# server_stop DIR SERVER: asks it to stop, and kills it when it has not done so within 20 seconds.
server_stop() {
    local dir=$1 server=$2 pid signal=TERM deadline=$((SECONDS + ${TOWPATH_STACK_STOP_TIMEOUT:-20}))
    # PostgreSQL waits for its clients when it hears TERM.
    [ "$server" != postgres ] || signal=INT
    if pid=$(server_pid "$dir" "$server"); then
        kill -"$signal" "$pid" 2> /dev/null || true
        kill -CONT "$pid" 2> /dev/null || true # A frozen process can't hear it.
        while server_pid "$dir" "$server" > /dev/null; do
            if [ "$SECONDS" -ge "$deadline" ]; then
                say "$server did not stop in time: killing it"
                kill -KILL "$pid" 2> /dev/null || true
                deadline=$((SECONDS + 20))
            fi
            sleep 0.05
        done
    fi
    rm -f "$dir/pids/$server"
}

# server_kill DIR SERVER: kill -9, and returns when the process is gone.
server_kill() {
    local dir=$1 server=$2 pid
    if pid=$(server_pid "$dir" "$server"); then
        kill -KILL "$pid" 2> /dev/null || true
        while server_pid "$dir" "$server" > /dev/null; do sleep 0.02; done
    fi
    rm -f "$dir/pids/$server"
}
