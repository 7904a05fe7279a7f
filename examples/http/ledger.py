"""A ledger from Python, with the standard library alone.

Opens two accounts, moves money between them, and reads balance, statement and events. Each command has an id that this program
chose: run it twice, and the second run changes nothing and prints the same.

Usage: python3 examples/http/ledger.py [URL]   (default: the node of `npm run -s chronicle -- dev`; TOKEN in the environment, if needed)
"""

import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7080"
TOKEN = os.environ.get("TOKEN")


class Problem(Exception):
    """An answer that is an error. `tag` names it, where it is a problem document, and no answer of a proxy before the node."""

    def __init__(self, error):
        is_document = error.headers.get_content_type() == "application/problem+json"
        self.status = error.code
        self.document = json.load(error) if is_document else {}
        self.tag = self.document.get("type", "").rsplit("#", 1)[-1]
        super().__init__(self.document.get("detail", str(error)))


def request(path, body=None, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if TOKEN:
        headers["authorization"] = f"Bearer {TOKEN}"
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        headers["content-type"] = "application/json"
    try:
        with urllib.request.urlopen(urllib.request.Request(URL + path, data, headers), timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise Problem(error) from None


def send(path, command_id, body):
    """Sends a command until its outcome is known. It may be sent as often as need be: its id makes it happen once.

    A fault of the node or of a proxy leaves the outcome unknown (500 and above), as does a connection that ends before the answer.
    What urllib raises for that is no URLError.
    """
    for attempt in range(10):
        try:
            return request(path, body, idempotency_key=command_id)
        except (Problem, OSError, http.client.HTTPException) as error:
            if isinstance(error, Problem) and error.status < 500 and error.tag != "Overloaded":
                raise
            time.sleep(0.1 * 2**attempt)
    raise TimeoutError(command_id)


def main():
    for name in ("ann", "ben"):
        send("/v1/accounts", f"py-open-{name}", {"account": f"py:{name}", "asset": "EUR/2", "owner": name.capitalize()})
    send("/v1/accounts/py:ann/deposits", "py-deposit", {"amount": "5000"})
    receipt = send("/v1/transfers", "py-transfer", {"from": "py:ann", "to": "py:ben", "amount": "1250", "description": "rent"})

    # The read token makes the answer contain at least the transfer.
    token = receipt["readToken"]
    ann = request("/v1/accounts/py:ann", chronicle_read_token=token)
    print("balance", ann["account"], ann["balance"])
    for line in request("/v1/accounts/py:ann/statement", chronicle_read_token=token)["rows"]:
        print("line", line["type"], line["amount"], line["balance"])

    try:
        send("/v1/transfers", "py-too-much", {"from": "py:ann", "to": "py:ben", "amount": "999999"})
    except Problem as problem:
        print("refused", problem.tag)

    # Amounts are strings, because a number of JSON loses digits; int() of Python loses none.
    events = request("/v1/accounts/py:ann/events")
    print("events", [event["event"]["_tag"] for event in events])


main()
