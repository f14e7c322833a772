FROM rust:1-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
RUN cargo build --release --locked

# glibc, libgcc and root certificates; no shell.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/perennial /usr/local/bin/perennial
# Beyond loopback; a variable wins over the file.
ENV PERENNIAL__HTTP__LISTEN="[::]:9464"
EXPOSE 9464
HEALTHCHECK CMD ["/usr/local/bin/perennial", "health"]
ENTRYPOINT ["/usr/local/bin/perennial"]
CMD ["run"]
