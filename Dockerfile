# The image: the program, glibc and root certificates; no shell, no package manager. docs/deploy-container.md says how to
# build, run and pin it.
#
# A tag can be moved by its owner. The builder's names one release of Rust; distroless has no narrower tag than this one.
# To pin both by digest: --build-arg BUILDER=…@sha256:… --build-arg RUNTIME=…@sha256:…
ARG BUILDER=docker.io/library/rust:1.95.0-slim-bookworm
ARG RUNTIME=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILDER} AS build
WORKDIR /src
# Where the build has to be quick and the program may be large: --build-arg CARGO_PROFILE_RELEASE_LTO=off
ARG CARGO_PROFILE_RELEASE_LTO
# The dependencies are a layer of their own, made anew only when they change.
COPY Cargo.toml Cargo.lock build.rs ./
COPY deploy/release/build deploy/release/build
RUN mkdir src \
    && touch src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && deploy/release/build \
    && cargo clean --release --locked --package perennial \
    && rm -r src
COPY src src
ARG REVISION=unknown
RUN PERENNIAL_REVISION=${REVISION} deploy/release/build

FROM ${RUNTIME}
COPY --from=build /src/target/release/perennial /usr/local/bin/perennial
# Beyond loopback; a variable wins over the file.
ENV PERENNIAL__HTTP__LISTEN="[::]:9464"
USER 65532:65532
EXPOSE 9464
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s --retries=3 CMD ["/usr/local/bin/perennial", "health"]
ENTRYPOINT ["/usr/local/bin/perennial"]
CMD ["run"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Perennial" \
    org.opencontainers.image.description="Keeps Microsoft Partner Center refresh tokens in Azure Key Vault alive" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
