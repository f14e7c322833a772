#!/bin/sh
# Stands in for the compiler: what is ours is built so that the fuzzer sees which way it takes, and all the rest as
# always, so that it need not be built again. The flags are those of `cargo fuzz`.
case " $* " in
    *" --crate-name perennial "* | *" --crate-name perennial_fuzz "*)
        exec "$@" --cfg fuzzing -Cpasses=sancov-module \
            -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
            -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
        ;;
    *) exec "$@" ;;
esac
