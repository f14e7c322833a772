# Makes substitutes for the Dockerfile's two base images from Debian's packages and this machine's toolchain. They get the
# names that the Dockerfile uses. `run` sources this file. Takes $lab, and `await` of lab.sh. The substitutes have the parts
# of the real images that the Dockerfile needs. The other parts of the real images are not tested.

# distroless/cc: some packages, unpacked without dpkg so that no other package comes with them, a user, and root
# certificates.
runtime_base() {
    local root=$lab/runtime debs=$lab/debs
    mkdir -p "$root" "$debs"
    (cd "$debs" && apt-get download -qq -o APT::Sandbox::User=root base-files netbase tzdata ca-certificates libc6 libgcc-s1 libstdc++6 libgomp1 libssl3)
    local deb
    for deb in "$debs"/*.deb; do
        dpkg-deb --extract "$deb" "$root"
    done
    rm -rf "$root"/usr/share/{doc,locale,lintian,man} "$root"/usr/{bin,sbin} "$root"/{bin,sbin} "$root/etc/update-motd.d"
    cat "$root"/usr/share/ca-certificates/mozilla/*.crt > "$root/etc/ssl/certs/ca-certificates.crt"
    printf '%s:x:%s:%s::%s:/sbin/nologin\n' root 0 0 /root nonroot 65532 65532 /home/nonroot > "$root/etc/passwd"
    printf '%s:x:%s:\n' root 0 nonroot 65532 > "$root/etc/group"
    install -d -o 65532 -g 65532 -m 700 "$root/home/nonroot"
    install -d -m 1777 "$root/tmp"
    image "$1" "$root" --user 65532 --workingdir /home/nonroot --env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
}

# rust:slim: Debian with a C compiler, and the Rust toolchain of this machine.
builder_base() {
    local root=$lab/builder
    debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev bookworm "$root" > "$lab/debootstrap.log"
    rm -rf "$root"/var/cache/apt/archives/*.deb
    mkdir -p "$root/usr/local/cargo"
    cp -a "$(rustc --print sysroot)" "$root/usr/local/rust"
    rm -rf "$root"/usr/local/rust/share/doc
    # The container uses this machine's root certificates and package sources.
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
    image "$1" "$root" --env CARGO_HOME=/usr/local/cargo \
        --env PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
}

# Arguments: a name, a root directory, and the image configuration.
image() {
    local name=$1 root=$2 container mounted
    shift 2
    container=$(buildah from scratch)
    mounted=$(buildah mount "$container")
    cp -a "$root/." "$mounted/"
    buildah umount "$container" > /dev/null
    buildah config "$@" "$container"
    buildah commit --quiet "$container" "$name" > /dev/null
    buildah rm "$container" > /dev/null
    rm -rf "$root"
}
