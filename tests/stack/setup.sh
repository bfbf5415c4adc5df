# What each server's folder is made of: its configuration, `run` (what starts it), `ask` (what asks it whether it is
# ready) and `env` (what the tests are told). Written anew at each start; data stays. Sourced by up.
# shellcheck shell=bash disable=SC2154

# script FILE WORD…: a bash script that becomes the given command.
script() {
    local file=$1
    shift
    printf 'exec' > "$file"
    printf ' %q' "$@" >> "$file"
    echo >> "$file"
}

# Ports and passwords are drawn once per DIR, those of servers that are not wanted yet too: a server keeps its
# address for as long as DIR exists, and toxiproxy knows where the others are or will be.
draw_settings() {
    local name
    for name in kafka kafka_controller kafka_sasl kafka_ssl kafka_sasl_ssl kafka_behind_faulty kafka_faulty \
        s3 s3_faulty toxiproxy postgres connect; do
        free_port
        echo "port_$name=$free_port"
    done
    for name in admin alice certs s3 postgres; do
        echo "password_$name=fake-$name-$RANDOM$RANDOM"
    done
}

# Java options of Apache Kafka's own start scripts, so that genuine Connect runs as its makers run it.
java_options=(-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35
    -XX:+ExplicitGCInvokesConcurrent -Djava.awt.headless=true "-Dlog4j2.configurationFile=$stack_here/log4j2.properties")

# sasl_users LISTENER: the users of PLAIN stand in the listener's properties, those of SCRAM in the formatted storage.
sasl_users() {
    local security=org.apache.kafka.common.security
    echo "listener.name.$1.plain.sasl.jaas.config=$security.plain.PlainLoginModule required user_admin=\"$password_admin\" user_alice=\"$password_alice\";"
    echo "listener.name.$1.scram-sha-256.sasl.jaas.config=$security.scram.ScramLoginModule required;"
    echo "listener.name.$1.scram-sha-512.sasl.jaas.config=$security.scram.ScramLoginModule required;"
}

setup_kafka() {
    local dir=$1
    mkdir -p "$dir/kafka"
    [ -f "$dir/certs/server.p12" ] || bash "$stack_here/certs" "$dir/certs" "$password_certs"
    cat > "$dir/kafka/server.properties" << END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$port_kafka_controller
log.dirs=$dir/kafka/data

# FAULTY is advertised at toxiproxy's port: whoever connects through toxiproxy stays behind it.
listeners=PLAINTEXT://127.0.0.1:$port_kafka,SASL://127.0.0.1:$port_kafka_sasl,SSL://127.0.0.1:$port_kafka_ssl,SASL_SSL://127.0.0.1:$port_kafka_sasl_ssl,FAULTY://127.0.0.1:$port_kafka_behind_faulty,CONTROLLER://127.0.0.1:$port_kafka_controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port_kafka,SASL://127.0.0.1:$port_kafka_sasl,SSL://127.0.0.1:$port_kafka_ssl,SASL_SSL://127.0.0.1:$port_kafka_sasl_ssl,FAULTY://127.0.0.1:$port_kafka_faulty
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,FAULTY:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER

sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN
$(sasl_users sasl)
$(sasl_users sasl_ssl)

ssl.keystore.type=PKCS12
ssl.keystore.location=$dir/certs/server.p12
ssl.keystore.password=$password_certs
ssl.key.password=$password_certs
ssl.truststore.type=PEM
ssl.truststore.location=$dir/certs/ca.pem
ssl.client.auth=requested
ssl.principal.mapping.rules=RULE:^CN=([^,]+).*\$/\$1/,DEFAULT

# Whoever has not proven a name may do everything; admin too; alice only what a test allows her.
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:admin

auto.create.topics.enable=false
delete.topic.enable=true
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1

# A broker that was killed may return only when its former self's session has ended.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500

# Quick on two cores: few internal partitions, no waiting for more group members, short sessions allowed,
# timed-out transactions aborted within a second.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
END
    script "$dir/kafka/run" java -Xms256m -Xmx768m "${java_options[@]}" -cp "$kafka_libs/*" \
        kafka.Kafka "$dir/kafka/server.properties"
    script "$dir/kafka/ask" kcat -L -m 5 -b "127.0.0.1:$port_kafka"
    [ -f "$dir/kafka/data/meta.properties" ] || format_kafka "$dir"
    cat > "$dir/kafka/env" << END
export TOWPATH_TEST_KAFKA=127.0.0.1:$port_kafka
export TOWPATH_TEST_KAFKA_SASL=127.0.0.1:$port_kafka_sasl
export TOWPATH_TEST_KAFKA_SSL=127.0.0.1:$port_kafka_ssl
export TOWPATH_TEST_KAFKA_SASL_SSL=127.0.0.1:$port_kafka_sasl_ssl
export TOWPATH_TEST_KAFKA_ADMIN_PASSWORD=$password_admin
export TOWPATH_TEST_KAFKA_ALICE_PASSWORD=$password_alice
export TOWPATH_TEST_CERTS=$(printf %q "$dir/certs")
export TOWPATH_TEST_CERTS_PASSWORD=$password_certs
END
}

format_kafka() {
    local dir=$1
    java -cp "$kafka_libs/*" "-Dlog4j2.configurationFile=$stack_here/log4j2.properties" \
        kafka.tools.StorageTool format -t dG93cGF0aC10ZXN0LXN0Yw -c "$dir/kafka/server.properties" \
        --add-scram "SCRAM-SHA-512=[name=admin,password=$password_admin]" \
        --add-scram "SCRAM-SHA-512=[name=alice,password=$password_alice]" \
        --add-scram "SCRAM-SHA-256=[name=admin,password=$password_admin]" \
        --add-scram "SCRAM-SHA-256=[name=alice,password=$password_alice]" > "$dir/kafka/log" 2>&1 \
        || { cat "$dir/kafka/log" >&2; die "kafka's storage could not be formatted"; }
}

# The folder for side-car metadata must exist; keys go by the environment, so that `ps` does not show them.
setup_s3() {
    local dir=$1
    mkdir -p "$dir/s3/data" "$dir/s3/metadata" "$dir/s3/iam"
    script "$dir/s3/run" env ROOT_ACCESS_KEY=towpath-test "ROOT_SECRET_KEY=$password_s3" "$versitygw" \
        --port "127.0.0.1:$port_s3" --region us-east-1 --iam-dir "$dir/s3/iam" \
        posix --sidecar "$dir/s3/metadata" "$dir/s3/data"
    script "$dir/s3/ask" curl -fsS -m 5 --aws-sigv4 aws:amz:us-east-1:s3 -u "towpath-test:$password_s3" \
        -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' "http://127.0.0.1:$port_s3/"
    cat > "$dir/s3/env" << END
export TOWPATH_TEST_S3=http://127.0.0.1:$port_s3
export TOWPATH_TEST_S3_REGION=us-east-1
export TOWPATH_TEST_S3_ACCESS_KEY=towpath-test
export TOWPATH_TEST_S3_SECRET_KEY=$password_s3
export TOWPATH_TEST_S3_ALICE_ACCESS_KEY=alice
export TOWPATH_TEST_S3_ALICE_SECRET_KEY=$password_alice
END
}

# Accounts are made through the running server. Alice has no right to anything until a bucket's policy gives her one.
finish_s3() {
    local dir=$1
    [ ! -f "$dir/s3/has-alice" ] || return 0
    ADMIN_ACCESS_KEY=towpath-test ADMIN_SECRET_KEY=$password_s3 "$versitygw" admin \
        --endpoint-url "http://127.0.0.1:$port_s3" create-user --access alice --secret "$password_alice" --role user >&2
    touch "$dir/s3/has-alice"
}

setup_toxiproxy() {
    local dir=$1
    mkdir -p "$dir/toxiproxy"
    cat > "$dir/toxiproxy/proxies.json" << END
[{"name": "kafka", "listen": "127.0.0.1:$port_kafka_faulty", "upstream": "127.0.0.1:$port_kafka_behind_faulty", "enabled": true},
 {"name": "s3", "listen": "127.0.0.1:$port_s3_faulty", "upstream": "127.0.0.1:$port_s3", "enabled": true}]
END
    script "$dir/toxiproxy/run" "$toxiproxy" -host 127.0.0.1 -port "$port_toxiproxy" -seed 1 \
        -config "$dir/toxiproxy/proxies.json"
    script "$dir/toxiproxy/ask" curl -fsS -m 5 "http://127.0.0.1:$port_toxiproxy/proxies/s3"
    cat > "$dir/toxiproxy/env" << END
export TOWPATH_TEST_TOXIPROXY=http://127.0.0.1:$port_toxiproxy
export TOWPATH_TEST_KAFKA_FAULTY=127.0.0.1:$port_kafka_faulty
export TOWPATH_TEST_S3_FAULTY=http://127.0.0.1:$port_s3_faulty
END
}

# PostgreSQL refuses to run as root: it gets the package's account then, which needs a way to its folder.
setup_postgres() {
    local dir=$1 data=$1/postgres/data as=()
    mkdir -p "$data"
    if [ ! -f "$data/PG_VERSION" ]; then echo "$password_postgres" > "$dir/postgres/password"; fi
    if [ "$(id -u)" = 0 ]; then
        as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
        chmod 711 "$dir" "$dir/postgres"
        chown -R postgres: "$data" "$dir/postgres/password"
    fi
    if [ ! -f "$data/PG_VERSION" ]; then
        "${as[@]}" "$postgres_15/bin/initdb" -D "$data" -U towpath -A scram-sha-256 --no-sync -E UTF8 --locale=C \
            --pwfile="$dir/postgres/password" > "$dir/postgres/initdb.log" 2>&1 \
            || die "initdb failed: $(tail -n 5 "$dir/postgres/initdb.log")"
    fi
    script "$dir/postgres/run" "${as[@]}" "$postgres_15/bin/postgres" -D "$data" -h 127.0.0.1 -p "$port_postgres" \
        -c unix_socket_directories= -c wal_level=logical -c max_replication_slots=20 -c max_wal_senders=20 \
        -c fsync=off -c max_wal_size=4GB
    script "$dir/postgres/ask" env "PGPASSWORD=$password_postgres" "$postgres_15/bin/psql" -h 127.0.0.1 \
        -p "$port_postgres" -U towpath -d postgres -qtAc 'select 1'
    cat > "$dir/postgres/env" << END
export TOWPATH_TEST_POSTGRES=127.0.0.1:$port_postgres
export TOWPATH_TEST_POSTGRES_USER=towpath
export TOWPATH_TEST_POSTGRES_PASSWORD=$password_postgres
END
}

# Heap as in Kafka's own connect-distributed.sh: it is what we are measured against.
setup_connect() {
    local dir=$1
    [ -d "$connect_libs" ] && [ -d "$connect_plugins" ] || die "genuine Kafka Connect is not installed: tests/stack/install --bench"
    mkdir -p "$dir/connect"
    cat > "$dir/connect/worker.properties" << END
bootstrap.servers=127.0.0.1:$port_kafka
group.id=genuine-connect
config.storage.topic=genuine-connect-configs
offset.storage.topic=genuine-connect-offsets
status.storage.topic=genuine-connect-status
config.storage.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
listeners=http://127.0.0.1:$port_connect
plugin.path=$connect_libs,$connect_plugins
plugin.discovery=service_load
offset.flush.interval.ms=1000
connector.client.config.override.policy=All
END
    script "$dir/connect/run" java -Xms256m -Xmx2g "${java_options[@]}" -cp "$connect_libs/*" \
        org.apache.kafka.connect.cli.ConnectDistributed "$dir/connect/worker.properties"
    script "$dir/connect/ask" curl -fsS -m 5 "http://127.0.0.1:$port_connect/health"
    echo "export TOWPATH_TEST_CONNECT=http://127.0.0.1:$port_connect" > "$dir/connect/env"
}
