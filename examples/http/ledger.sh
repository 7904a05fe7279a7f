#!/bin/sh
# A ledger by curl alone: opens two accounts, moves money between them, and reads what became of it.
# Usage: examples/http/ledger.sh [URL]   (default: the node of `npm run -s chronicle -- dev`)
set -eu
url=${1:-http://127.0.0.1:7080}
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# path, command id, body: sent again with the same id it does nothing twice. So it is, where the connection ended before the answer, the node
# has too much to do (429), or the outcome is not known (500 and above).
send() {
  for pause in 1 2 4 8 16 0; do
    : >"$answer"
    status=$(curl -sS -o "$answer" -w '%{http_code}' "$url$1" -H 'content-type: application/json' -H "idempotency-key: $2" -d "$3") || status=lost
    case $status in lost | 429 | 5??) sleep $pause ;; *) break ;; esac
  done
  cat "$answer"
  echo
  case $status in 2??) ;; *) exit 1 ;; esac
}

send /v1/accounts curl-open-ann '{"account":"curl:ann","asset":"EUR/2","owner":"Ann"}'
send /v1/accounts curl-open-ben '{"account":"curl:ben","asset":"EUR/2","owner":"Ben"}'
send /v1/accounts/curl:ann/deposits curl-deposit '{"amount":"5000"}'
send /v1/transfers curl-transfer '{"from":"curl:ann","to":"curl:ben","amount":"1250","description":"rent"}'
curl -sS --fail-with-body "$url/v1/accounts/curl:ben?consistency=strong"
echo
