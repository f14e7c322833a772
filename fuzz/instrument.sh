#!/bin/sh
# Replaces the compiler: our crates are built with instrumentation for the fuzzer, and all others as
# usual, so that they need not be built again. The flags are those of `cargo fuzz`.
case " $* " in
    *" --crate-name perennial "* | *" --crate-name perennial_fuzz "*)
        exec "$@" --cfg fuzzing -Cpasses=sancov-module \
            -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
            -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
        ;;
    *) exec "$@" ;;
esac
