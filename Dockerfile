# The image of a worker: the binary, the libraries that it needs, certificates of authorities, and a user without rights.
#
#   docker build -t towpath .
#
# Nobody has built it yet: no container engine runs where Towpath is developed and tested. What it builds and starts is
# what the tests build and start; `deploy/entrypoint` is tested by tests/e2e/examples.sh.

FROM rust:1.95.0-bookworm AS build
# This toolchain as it is: rustup need not fetch what only linting takes.
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p towpath-server \
    && strip -o /towpath target/release/towpath

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --home-dir /var/lib/towpath --shell /usr/sbin/nologin towpath
COPY --from=build /towpath /usr/local/bin/towpath
COPY deploy/entrypoint /usr/local/bin/towpath-entrypoint
# Spools of sinks go here: mount a volume for those that write much.
ENV TMPDIR=/var/lib/towpath
WORKDIR /var/lib/towpath
USER 10001
EXPOSE 8083
# 200 as soon as the worker is ready. Another port, or https, needs another check.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8083 && printf 'GET /health HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["towpath-entrypoint"]
