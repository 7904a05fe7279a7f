#!/bin/sh
# Makes the secrets of the composed ledger, once: an authority of its own, a certificate of it, a peer with a token, and the
# passwords of NATS. `sh docker/secrets.sh [directory]`, after `npm ci`; needs openssl. Nothing of it belongs into git or
# an image. Only their owner may read the files, whatever the mode of the directory: the containers run as that user.
set -eu
umask 077
dir="${1:-docker/secrets}"
if [ -e "$dir/peer.env" ]; then
  echo "$dir has secrets already: remove it to make others" >&2
  exit 1
fi
mkdir -p "$dir"
chmod 700 "$dir"
curve="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
# shellcheck disable=SC2086
openssl req -x509 $curve -days 3650 -subj "/CN=chronicle composed" -keyout "$dir/ca-key.pem" -out "$dir/ca.pem" 2>/dev/null
# shellcheck disable=SC2086
openssl req $curve -subj "/CN=ledger" -keyout "$dir/rpc-key.pem" -out "$dir/rpc.csr" 2>/dev/null
printf '%s\n' "subjectAltName=DNS:localhost,IP:127.0.0.1,DNS:ledger-1,DNS:ledger-2,DNS:ledger-3" >"$dir/rpc.ext"
openssl x509 -req -in "$dir/rpc.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca-key.pem" -CAcreateserial -days 825 \
  -extfile "$dir/rpc.ext" -out "$dir/rpc-cert.pem" 2>/dev/null
openssl rand -hex 32 >"$dir/cluster-secret"
rm -f "$dir/rpc.csr" "$dir/rpc.ext" "$dir/ca.srl"
node_modules/.bin/node src/cli/main.ts token peer --scope read --scope command --json 2>/dev/null |
  DIR="$dir" node_modules/.bin/node -e '
    const { token, entry } = JSON.parse(require("node:fs").readFileSync(0, "utf8"))
    const write = (name, text) => require("node:fs").writeFileSync(`${process.env.DIR}/${name}`, `${text}\n`)
    write("rpc-tokens.json", JSON.stringify([entry]))
    write("peer.env", [
      "CHRONICLE_RPC_URL=tls://127.0.0.1:7071,tls://127.0.0.1:7072,tls://127.0.0.1:7073",
      `CHRONICLE_RPC_CA=${process.env.DIR}/ca.pem`,
      `CHRONICLE_RPC_TOKEN=${token}`
    ].join("\n"))'
# The containers read these as the user of the image (1000), or as the one who made them.
user="$(id -u):$(id -g)"
if [ "$(id -u)" = 0 ]; then
  user=1000:1000
  chown "$user" "$dir/rpc-cert.pem" "$dir/rpc-key.pem" "$dir/rpc-tokens.json" "$dir/cluster-secret"
fi
# NATS would read a password of digits alone as a number: each begins with a letter.
cat >"$dir/compose.env" <<END
CHRONICLE_USER=$user
CHRONICLE_NATS_PASSWORD=n$(openssl rand -hex 24)
CHRONICLE_NATS_CLUSTER_PASSWORD=n$(openssl rand -hex 24)
END
chmod 600 "$dir"/*
echo "made $dir: docker compose --env-file $dir/compose.env up; a peer on this machine has its settings in $dir/peer.env"
