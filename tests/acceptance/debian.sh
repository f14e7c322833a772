#!/usr/bin/env bash
# Tests the Debian package on a machine with a real systemd. It installs, upgrades, removes and purges the package with the
# commands of docs/deploy-systemd.md. Takes the program to package. Needs root. Installs the packages that
# deploy/debian/package and machine.sh need.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=$(realpath "${1:?the program to package}")
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
. tests/acceptance/systemd/machine.sh
needs dpkg-shlibdeps:dpkg-dev

# Packages the same program under two versions.
for version in 0.1.0-1 0.1.1-1; do
    deploy/debian/package "$lab" "$program" --fast --deb-version "$version" > /dev/null
done

boot
sandbox
# Types a command of the page. Shows the output of apt only if the command fails.
apt() {
    typed "$@" | there > "$lab/said" 2>&1 || { cat "$lab/said" >&2; exit 1; }
}
offered() {
    rm -f "$root"/root/*.deb
    cp "$lab/perennial_$1"_*.deb "$root/root/"
}
everything() { (cd "$root" && find etc usr var/lib/systemd | sort); }
everything > "$lab/before"

offered 0.1.0-1
apt '1. Install' 1
shows 'it says what is next' grep -q 'What is next: /usr/share/doc/perennial/docs/deploy-systemd.md' "$lab/said"
for file in usr/bin/perennial usr/sbin/perennial-as-daemon usr/lib/systemd/system/perennial{.service,-rotate.service,-rotate.timer} \
    usr/share/{bash-completion/completions/perennial,zsh/vendor-completions/_perennial,fish/vendor_completions.d/perennial.fish} \
    usr/share/doc/perennial/{copyright,changelog.gz,README.md,docs/deploy-systemd.md,config/perennial.toml}; do
    shows "installed: $file" test -s "$root/$file"
done
conffiles() { inside dpkg-query --show --showformat='${Conffiles}' perennial | awk 'NF { print $1 }'; }
only_the_configuration() { [ "$(conffiles)" = /etc/perennial/perennial.toml ]; }
sourced() { inside bash -c '. /usr/share/bash-completion/completions/perennial && complete -p perennial'; }
shows 'bash completes it' sourced
shows 'the configuration is a conffile' only_the_configuration
unchanged() { [ -z "$(inside dpkg --verify perennial)" ]; }
shows 'all is as it was packaged' unchanged
nothing_to_say() { inside systemd-analyze verify perennial.service perennial-rotate.timer 2>&1 | (! grep .); }
shows 'systemd has nothing to say about the units' nothing_to_say
for unit in perennial.service perennial-rotate.timer; do
    shows "$unit is not enabled" is "$unit" UnitFileState disabled
    shows "$unit is not running" is "$unit" ActiveState inactive
done

shows 'the example cannot be started' fails inside systemctl start perennial
shows 'it ends with 78' is perennial ExecMainStatus 78
shows 'and is not tried again' is perennial SubState failed
shows 'the log says what to fill in' logged perennial '"key":"token\[0\].tenant_id"'

# The sandbox's own configuration. The secret for the vault comes from a credential in plain text.
typed '2. Configure' | filled_in | there > /dev/null
config=$root/etc/perennial/perennial.toml
sed 's|{ file = "/srv/sandbox/vault-client-secret" }|{ credential = "vault-secret" }|' "$root/srv/sandbox/perennial.toml" > "$config"
install --mode=600 "$root/srv/sandbox/vault-client-secret" "$root/etc/perennial/vault-secret"
mkdir "$root/etc/systemd/system/perennial.service.d"
sed -n '/^#LoadCredential=/s/^#/[Service]\n/p' deploy/systemd/perennial.service > "$root/etc/systemd/system/perennial.service.d/secret.conf"
control sign-in --data '{}' > /dev/null
inside systemctl daemon-reload
typed '6. Run it' | there > /dev/null
shows 'it runs, and what it holds is good' logged perennial '"event":"rotated"'
inside sha256sum /etc/perennial/perennial.toml > "$lab/config"
same_configuration() { inside sha256sum --quiet --check < "$lab/config"; }
installed() { [ "$(inside dpkg-query --show --showformat='${db:Status-Status} ${Version}' perennial)" = "installed $1" ]; }
process() { inside systemctl show perennial --property=MainPID --value; }

before=$(process)
offered 0.1.1-1
apt 'Upgrade and remove' 1
shows 'upgraded' installed 0.1.1-1
another() { [ "$(process)" != "$before" ] && is perennial SubState running; }
shows 'the new program runs' another
shows 'with the configuration as it was' same_configuration
asked() { find "$root/etc" -name '*.dpkg-*' | grep .; }
shows 'without a question' fails asked

inside systemctl stop perennial
offered 0.1.0-1
inside sh -c "dpkg --install /root/perennial_*.deb" > /dev/null 2>&1
shows 'the older version goes back in' installed 0.1.0-1
shows 'and is not started, as it was not running' is perennial ActiveState inactive

inside systemctl start perennial
apt 'Upgrade and remove' 2
shows 'removed: the process' is perennial ActiveState inactive
shows 'removed: the unit' is perennial LoadState not-found
shows 'removed: the program' test ! -e "$root/usr/bin/perennial"
shows 'the configuration is kept' same_configuration

apt '1. Install' 1
shows 'installed again, it is still the same configuration' same_configuration
shows 'and still enabled' is perennial UnitFileState enabled

apt 'Upgrade and remove' 3
shows 'purged: the configuration' test ! -e "$config"
shows 'what the package did not bring is still there' test -s "$root/etc/perennial/vault-secret"
rm -r "$root"/etc/{perennial,systemd/system/perennial.service.d}
nothing_left() { everything | diff "$lab/before" -; }
shows 'and nothing else' nothing_left
