# The image holds the program, glibc and root certificates. It has no shell and no package manager. docs/deploy-container.md
# says how to build, run and pin the image.
#
# The owner of a tag can move it to another image. The builder's tag names one release of Rust. The distroless project has no
# more specific tag. To pin both base images by digest: --build-arg BUILDER=…@sha256:… --build-arg RUNTIME=…@sha256:…
ARG BUILDER=docker.io/library/rust:1.95.0-slim-bookworm
ARG RUNTIME=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILDER} AS build
WORKDIR /src
# For a faster build and a larger program: --build-arg CARGO_PROFILE_RELEASE_LTO=off
ARG CARGO_PROFILE_RELEASE_LTO
# The dependencies are a separate layer. Docker rebuilds this layer only when they change.
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
# Listens on all addresses, not only on loopback. A variable overrides the configuration file.
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
