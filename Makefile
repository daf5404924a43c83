# Short names for the scripts that do the work. ARGS is passed on: make bench ARGS="--protocol simple --rounds 3"

TARGET := $(or $(CARGO_TARGET_DIR),target)

SOAK := cargo test --locked --test failover

.PHONY: run test load bench micro fuzz drivers soak

# A formation and the pooler before it, until Ctrl-C; ARGS=--alone for one PostgreSQL.
run:
	.ci/setup
	cargo build --release --locked -p pooler -p lab
	$(TARGET)/release/lab run --pooler $(TARGET)/release/pooler $(ARGS)

# Everything that must hold before a change goes in.
test:
	.ci/test

# 500 clients on a pooler that runs; ARGS="HOST PORT DB USER", by default the one of `make run`.
load:
	tests/load.sh $(ARGS)

# Beside PgBouncer, in one run.
bench:
	.ci/setup bench
	cargo build --release --locked -p pooler -p lab
	benches/load/bench.py $(ARGS)

# What protocol and pool cost a transaction: nanoseconds, quickly, then instructions (with valgrind); ARGS="PART OF A NAME".
micro:
	cargo bench --locked --bench protocol --bench pool -- --warm-up-time 0.5 --measurement-time 1 --noplot $(ARGS)
	benches/instructions $(ARGS)

# Made-up input for every parser, each for FUZZ_SECONDS (60); ARGS="TARGET…" for some of them.
fuzz:
	.ci/setup fuzz
	tests/fuzz/run $(ARGS)

# Drivers of many languages through PostgreSQL, the pooler and PgBouncer; ARGS="DRIVER…" for some of them.
drivers:
	.ci/setup drivers
	cargo build --locked -p pooler -p lab
	tests/drivers/run $(ARGS)

# Failovers of a real formation by the dozen, for figures, about half an hour: SOAK_FAILOVERS (20), SOAK_KILLS (10),
# SOAK_SWITCHOVERS (10), SOAK_WRITERS (50), SOAK_NODES (2); PGBOUNCER=PROGRAM for one beside it; ARGS=planned for some.
# Without optimisation: nearly all of a failover's time passes in the formation.
soak:
	.ci/setup
	SOAK_NODES=$(or $(SOAK_NODES),2) $(SOAK) $(if $(ARGS),soak::$(ARGS)) -- --ignored --nocapture --test-threads 1
	$(if $(ARGS),,SOAK_NODES=3 $(SOAK) soak::planned::planned_failovers_under -- --ignored --nocapture --test-threads 1)
