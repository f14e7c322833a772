# Formatting and lints
check:
    cargo fmt --check && cargo clippy --locked --all-targets -- -D warnings

# All tests that need Rust and a C compiler only
test:
    cargo test --locked

# The suites that need other programs
acceptance:
    tests/acceptance/run

# Licences, sources and banned crates
deny:
    cargo deny check bans licenses sources

# Published advisories; fetches their database from a public forge
advisories:
    cargo deny --locked check --hide-inclusion-graph advisories

# The container image
image:
    docker build --tag perennial .

# The program as it is shipped
release:
    deploy/release/build

# Two builds from two directories, compared
reproducible:
    tests/acceptance/reproducible.sh

# Bills of materials and licences, into ./dist
papers:
    deploy/release/papers dist

# A thousand simulated years, optimised
sim:
    SIM_SEEDS=1000 cargo test --locked --profile sim --test it simulation -- --nocapture

# Five hundred times two hundred days of the whole process, optimised
sim-process:
    SIM_SEEDS=500 cargo test --locked --profile sim --test it whole_process -- --nocapture

# Every answer that can meet us, as a table
matrix:
    cargo test --locked --test it wire_answers -- --nocapture --test-threads 1

# Bugs on purpose, each of which the tests must notice
bugs:
    tests/deliberate_bugs.py

# Half a year of it in a minute
demo:
    cargo run --release --locked -- demo
