#!/bin/bash
# Puts 500 pgbench clients on a pooler and checks that all is well.
#
#   tests/load.sh [HOST PORT DB USER]        127.0.0.1 6432 app app unless said; PGPASSWORD and friends are respected
#
# Replaces pgbench's tables in DB. Exit status: 0 pass; 1 failed transactions, connection errors, or too many server
# connections; 2 the pooler cannot be reached; 3 a tool is missing.
#
#   LOAD_SECONDS (30), LOAD_CLIENTS (500), LOAD_SCALE (10), LOAD_PROTOCOL (simple, extended or prepared)
#   LOAD_MAX_SERVERS (60)    the most server connections the pooler may hold for DB: pool and reserve
#   LOAD_SELF=1              brings its own formation and pooler ($POOLER and $LAB: the programs), and also insists on
#                            what it otherwise only checks if USER may see it: the console and pg_stat_activity
set -euo pipefail

readonly PASS=0 FAILED=1 UNREACHABLE=2 MISSING=3
seconds=${LOAD_SECONDS:-30} clients=${LOAD_CLIENTS:-500} max_servers=${LOAD_MAX_SERVERS:-60}
self=${LOAD_SELF:-}
root=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
lab_pid='' pgbench_pid='' problems=()

end() {
    local pid
    for pid in $pgbench_pid $lab_pid; do
        kill -TERM "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true
    done
    rm -rf "$scratch"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

for tool in pgbench psql awk; do
    command -v $tool >/dev/null || { echo "load: $tool is not installed" >&2; exit $MISSING; }
done

start_lab() {
    local target=${CARGO_TARGET_DIR:-$root/target}/release log=$scratch/lab
    local lab=${LAB:-$target/lab} pooler=${POOLER:-$target/pooler}
    [ -x "$lab" ] && [ -x "$pooler" ] || { echo "load: $lab or $pooler is not built" >&2; exit $MISSING; }
    "$lab" run --pooler "$pooler" --port 0 --metrics-port 0 >"$log" 2>&1 </dev/null &
    lab_pid=$!
    for _ in $(seq 1200); do
        if address=$(sed -n 's/^ready //p' "$log") && [ -n "$address" ]; then return; fi
        kill -0 $lab_pid 2>/dev/null || break
        sleep 0.1
    done
    cat "$log" >&2
    exit $UNREACHABLE
}

address="${1:-127.0.0.1} ${2:-6432} ${3:-app} ${4:-app}"
if [ -n "$self" ]; then start_lab; fi
read -r host port db user <<<"$address"
export PGHOST=$host PGPORT=$port PGUSER=$user PGCONNECT_TIMEOUT=${PGCONNECT_TIMEOUT:-10}

if ! psql -XAtqc 'select 1' "$db" >/dev/null 2>"$scratch/error"; then
    echo "load: no answer from $host:$port, database $db, user $user: $(cat "$scratch/error")" >&2
    exit $UNREACHABLE
fi

# One line of the pool's figures: servers, waiting and active clients. Columns are found by name; their order differs
# between versions.
show_pools() {
    timeout 5 psql -XA -F '|' -P footer=off -c 'show pools' pgbouncer 2>/dev/null | awk -F '|' -v db="$db" '
        NR == 1 { for (i = 1; i <= NF; i++) name[i] = $i; next }
        $1 == db { for (i = 1; i <= NF; i++) {
            if (name[i] ~ /^sv_/) servers += $i
            if (name[i] == "cl_active") active += $i
            if (name[i] == "cl_waiting") waiting += $i
        } }
        END { if (NR > 1) print servers + 0, active + 0, waiting + 0 }'
}

# Seen through the pooler, so with one of its own connections.
server_connections() {
    timeout 5 psql -XAtqc "select count(*) from pg_stat_activity where datname = current_database()
        and usename = current_user" "$db" 2>/dev/null
}

echo "load: filling pgbench's tables in $db, through $host:$port"
if ! pgbench -i -q -s "${LOAD_SCALE:-10}" "$db" >"$scratch/init" 2>&1; then
    cat "$scratch/init" >&2
    echo "load: FAIL: pgbench -i" >&2
    exit $FAILED
fi

protocol=${LOAD_PROTOCOL:-simple} scripts=(-b select-only@9 -b simple-update@1)
# pgbench prepares with a blocking call: its thread would wait for a server while its other clients, in the middle of
# their transactions, hold all of them. Single statements cannot lock each other out like that.
if [ "$protocol" = prepared ]; then scripts=(-b select-only); fi
echo "load: $clients clients for $seconds s, $protocol"
pgbench -n -c "$clients" -j 8 -T "$seconds" -P 5 -M "$protocol" "${scripts[@]}" "$db" >"$scratch/run" 2>&1 </dev/null &
pgbench_pid=$!

samples=0 most_servers=0 most_clients=0 most_backends=0
while kill -0 $pgbench_pid 2>/dev/null; do
    if read -r servers active waiting < <(show_pools); then
        samples=$((samples + 1))
        most_servers=$((servers > most_servers ? servers : most_servers))
        most_clients=$((active + waiting > most_clients ? active + waiting : most_clients))
    fi
    backends=$(server_connections || true)
    most_backends=$((${backends:-0} > most_backends ? ${backends:-0} : most_backends))
    sleep 0.5
done
status=0
wait $pgbench_pid || status=$?
pgbench_pid=''

grep -E '^progress:|^(tps|latency|number of)' "$scratch/run" || true
[ $status = 0 ] || problems+=("pgbench ended with status $status: $(grep -m 3 -iE 'error|fatal|abort' "$scratch/run")")
failed=$(sed -n 's/^number of failed transactions: \([0-9]*\).*/\1/p' "$scratch/run")
[ "${failed:-0}" = 0 ] || problems+=("$failed failed transactions")

if [ $samples -gt 0 ]; then
    echo "load: SHOW POOLS, $samples samples: at most $most_servers server connections and $most_clients clients"
    [ $most_servers -le "$max_servers" ] || problems+=("$most_servers server connections, $max_servers allowed")
    # The rest of a twentieth may be logging in or leaving at the moment of every sample.
    [ $((most_clients * 100)) -ge $((clients * 95)) ] || problems+=("the console saw only $most_clients clients")
elif [ -n "$self" ]; then
    problems+=("the console did not answer SHOW POOLS")
else
    echo "load: the console is not open to $user: server connections not checked there"
fi
if [ $most_backends -gt 0 ]; then
    echo "load: pg_stat_activity: at most $most_backends connections of $user to $db"
    if [ -n "$self" ] && [ $most_backends -gt "$max_servers" ]; then
        problems+=("$most_backends backends, $max_servers allowed")
    fi
elif [ -n "$self" ]; then
    problems+=("pg_stat_activity could not be read through the pooler")
fi

if [ ${#problems[@]} -gt 0 ]; then
    printf 'load: FAIL: %s\n' "${problems[@]}" >&2
    exit $FAILED
fi
echo "load: pass"
exit $PASS
