#!/usr/bin/env bash
# The examples in configs/ run as they are: the local worker's file with file → Kafka → S3, and the variables of
# docker-compose.yml, read by the container's entry point, with generated orders → S3. Only addresses and names that
# must be this stack's own are put over them. Both workers run beside each other.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=$(mktemp -d)
pids=()
stop() {
  for pid in "${pids[@]}"; do kill -9 "$pid" 2> /dev/null || true; done
  rm -rf "$dir"
}
trap stop EXIT
fail() {
  echo "$*"
  for log in "$dir"/*.log; do echo "== ${log##*/}"; tail -n 20 "$log"; done
  exit 1
}

# Without arguments the container's entry point is a worker whose API can be reached; with arguments it is `towpath`.
mkdir "$dir/bin" "$dir/stub"
printf '#!/bin/sh\necho "$* $CONNECT_LISTENERS"\n' > "$dir/stub/towpath"
chmod +x "$dir/stub/towpath"
said=$(env -u CONNECT_LISTENERS PATH="$dir/stub:$PATH" deploy/entrypoint)
[ "$said" = 'worker http://0.0.0.0:8083' ] || fail "the entry point runs: $said"
said=$(CONNECT_LISTENERS=https://:1 PATH="$dir/stub:$PATH" deploy/entrypoint)
[ "$said" = 'worker https://:1' ] || fail "the entry point runs: $said"
said=$(CONNECT_LISTENERS='' PATH="$dir/stub:$PATH" deploy/entrypoint worker /etc/worker.properties)
[ "$said" = 'worker /etc/worker.properties ' ] || fail "the entry point runs: $said"

run=$RANDOM$RANDOM
export S3_URL=$TOWPATH_TEST_S3 S3_ACCESS_KEY=$TOWPATH_TEST_S3_ACCESS_KEY S3_SECRET_KEY=$TOWPATH_TEST_S3_SECRET_KEY
s3() {
  curl -sS -m 10 --aws-sigv4 "aws:amz:$TOWPATH_TEST_S3_REGION:s3" -u "$S3_ACCESS_KEY:$S3_SECRET_KEY" \
    -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "$@"
}
# A database of this run's own would need another configuration: the examples' own is made anew.
export PG_HOST=${TOWPATH_TEST_POSTGRES%:*} PG_PORT=${TOWPATH_TEST_POSTGRES#*:}
export PG_USER=$TOWPATH_TEST_POSTGRES_USER PG_PASSWORD=$TOWPATH_TEST_POSTGRES_PASSWORD
sql() { # DATABASE STATEMENT…: each statement by itself
  local database=$1 statement
  shift
  for statement; do
    PGPASSWORD=$PG_PASSWORD "$TOWPATH_TEST_PG15/psql" -h "$PG_HOST" -p "$PG_PORT" -U "$PG_USER" -d "$database" \
      -v ON_ERROR_STOP=1 -qtAc "$statement"
  done
}
drop_slots="select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name in ('shop', 'shop_rows', 'shop_outbox', 'shop_full')"
sql postgres "$drop_slots" \
  'drop database if exists shop with (force)' 'create database shop'
sql shop 'create table customers (id int primary key, name text)' \
  'create table outbox (id uuid primary key, aggregatetype text, aggregateid text, type text, payload jsonb)' \
  "insert into customers select i, 'customer ' || i from generate_series(1, 100) i"
for bucket in clicks orders; do s3 -X PUT "$S3_URL/$bucket" > /dev/null; done

# own PORT NAME: what must be this stack's own, as variables, which win over a file.
own() {
  printf '%s\n' "CONNECT_BOOTSTRAP_SERVERS=$TOWPATH_TEST_KAFKA" "CONNECT_LISTENERS=http://127.0.0.1:$1" \
    "CONNECT_GROUP_ID=examples-$2-$run" "CONNECT_CONFIG_STORAGE_TOPIC=examples-$2-$run-configs" \
    "CONNECT_OFFSET_STORAGE_TOPIC=examples-$2-$run-offsets" "CONNECT_STATUS_STORAGE_TOPIC=examples-$2-$run-status"
}
# shellcheck source=../stack/lib.sh
. tests/stack/lib.sh
free_port
port=$free_port
free_port
compose_port=$free_port
mapfile -t variables < <(own "$port" file)
env "${variables[@]}" "$TOWPATH_BIN" worker configs/worker/worker.properties > "$dir/file.log" 2>&1 &
pids+=($!)
ln -s "$TOWPATH_BIN" "$dir/bin/towpath"
mapfile -t composed < <(sed -n '/^  towpath:/,/depends_on:/s/^      \(CONNECT_[A-Z_]*\): "\{0,1\}\([^"]*\)"\{0,1\}$/\1=\2/p' docker-compose.yml)
[ "${#composed[@]}" -gt 10 ] || fail "only ${#composed[@]} variables are found in docker-compose.yml"
mapfile -t variables < <(own "$compose_port" compose)
env "${composed[@]}" "${variables[@]}" PATH="$dir/bin:$PATH" deploy/entrypoint > "$dir/compose.log" 2>&1 &
pids+=($!)

# until_true SECONDS COMMAND…
until_true() {
  local until=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$until" ] || return 1
    sleep 0.2
  done
}
ready() { curl -sf -m 5 "localhost:$1/health" > /dev/null; }
# put PORT NAME FILE: as in the README; a file of configs/examples, or with its path.
put() {
  (cd configs/examples && curl -sS -m 60 -X PUT -H 'Content-Type: application/json' -d "@$3" \
    -o "$dir/answer" -w '%{http_code}' "localhost:$1/connectors/$2/config") | grep -q '^20[01]$' \
    || fail "$3 is refused: $(cat "$dir/answer")"
}
# lines BUCKET: the records in its objects.
lines() {
  local key
  s3 "$S3_URL/$1?list-type=2" | grep -o '<Key>[^<]*' | sed 's/<Key>//; s/+/%2B/g; s/=/%3D/g' | while read -r key; do
    s3 "$S3_URL/$1/$key"
  done | wc -l
}
at_least() { [ "$(lines "$1")" -ge "$2" ]; }

for p in "$port" "$compose_port"; do until_true 90 ready "$p" || fail "the worker on port $p is not ready"; done
put "$port" clicks file-to-kafka.json
put "$port" clicks-to-s3 kafka-to-s3.json
put "$port" shop postgres-to-kafka.json
put "$port" shop-rows postgres-rows-to-kafka.json
put "$port" shop-outbox postgres-outbox-to-kafka.json
# Unwrapped in front of a sink instead, which takes schemas in the topic.
sed 's/"\(topic.prefix\|slot.name\|publication.name\)": "shop"/"\1": "shop_full"/; s/enable": "false"/enable": "true"/' \
  configs/examples/postgres-to-kafka.json > "$dir/full.json"
cat > "$dir/unwrapped.json" << EOF
{
  "connector.class": "FileStreamSink",
  "topics": "shop_full.public.customers",
  "file": "$dir/unwrapped.out",
  "key.converter": "org.apache.kafka.connect.json.JsonConverter",
  "value.converter": "org.apache.kafka.connect.json.JsonConverter",
  "transforms": "unwrap",
  "transforms.unwrap.type": "io.debezium.transforms.ExtractNewRecordState",
  "transforms.unwrap.add.fields": "op"
}
EOF
put "$port" shop-full "$dir/full.json"
put "$port" unwrapped "$dir/unwrapped.json"
put "$compose_port" orders orders.json
put "$compose_port" orders-to-s3 orders-to-s3.json
# 295 of the file's 300 clicks are sound, so two objects of 100 are complete; the broken ones are dead letters.
until_true 90 at_least clicks 200 || fail "$(lines clicks) clicks are in the bucket"
until_true 90 at_least orders 1000 || fail "$(lines orders) orders are in the bucket"
customers() { kcat -C -q -e -b "$TOWPATH_TEST_KAFKA" -t shop.public.customers -o beginning 2> /dev/null | grep -c "$1"; }
read_all() { [ "$(customers '"op":"r"')" -ge 100 ]; }
until_true 90 read_all || fail "$(customers '"op":"r"') customers were read"
sql shop "update customers set name = 'another' where id = 7"
updated() { [ "$(customers '"after":{"id":7,"name":"another"}')" -ge 1 ]; }
until_true 90 updated || fail 'the update of a customer did not come'
# topic NAME FORMAT: its records, as kcat's format shows them.
topic() { kcat -C -q -e -b "$TOWPATH_TEST_KAFKA" -t "$1" -o beginning -f "$2" 2> /dev/null; }
rows() { topic shop-rows.public.customers '%k %S %s %h\n'; }
rows_read() { [ "$(rows | grep -c '"__op":"r"')" -ge 100 ]; }
until_true 90 rows_read || fail "of the customers, $(rows | grep -c '"__op":"r"') rows were read"
sql shop "update customers set name = 'third' where id = 7" 'delete from customers where id = 8'
row_updated() { rows | grep -q '^{"id":7} [0-9]* {"id":7,"name":"third","__op":"u","__source_lsn":[0-9]*} .*committed=[0-9]'; }
until_true 90 row_updated || fail "the row of a customer did not come: $(rows | tail -n 3)"
# A tombstone has a null for a value, whose size is -1.
row_deleted() { rows | grep -q '^{"id":8} -1 '; }
until_true 90 row_deleted || fail "the delete of a customer is no tombstone: $(rows | tail -n 3)"
unwrapped() { grep -q '^Struct{id=7,name=third,__op=u}$' "$dir/unwrapped.out"; }
until_true 90 unwrapped || fail "the row of a customer is not in the file: $(tail -n 3 "$dir/unwrapped.out")"
[ "$(grep -c '^Struct{id=[0-9]*,name=customer [0-9]*,__op=r}$' "$dir/unwrapped.out")" -ge 99 ] \
  || fail "the rows of customers are not in the file: $(head -n 3 "$dir/unwrapped.out")"
sql shop "insert into outbox values ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'order', '42', 'OrderCreated', '{\"total\": 5, \"lines\": [{\"sku\": \"x\"}]}')" \
  'delete from outbox'
event() {
  topic shop.events.order '%k|%s|%h\n' | grep -q '^42|{"lines":\[{"sku":"x"}\],"total":5}|.*id=a0eebc99-.*eventType=OrderCreated'
}
until_true 90 event || fail "the event did not come: $(topic shop.events.order '%k|%s|%h\n')"
curl -sf "localhost:$compose_port/towpath/v1/connectors/orders-to-s3/status" | grep -q '"delivery":"exactly-once"' \
  || fail 'the example for S3 promises less than exactly-once'
for pid in "${pids[@]}"; do
  kill "$pid"
  wait "$pid" || fail "worker $pid did not stop well"
done
pids=()
sql postgres "$drop_slots" 'drop database shop with (force)' > /dev/null
echo "examples: $(lines clicks) clicks and $(lines orders) orders are in their buckets, customers, their rows and events in their topics"
