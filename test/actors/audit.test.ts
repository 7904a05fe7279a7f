/** Every way in which SQL can change a row: the audit must name the row that was changed. */
import { assert, inject, layer } from "@effect/vitest"
import { Effect } from "effect"
import { Audit, type AuditReport, type Finding } from "../../src/actors/audit/Audit.ts"
import { AuditConfig, type AuditLimits, defaultAuditLimits } from "../../src/actors/audit/AuditRun.ts"
import { AccountId } from "../../src/domain/Ids.ts"
import { auditWorld, Tampering, tampered } from "../support/auditWorld.ts"

interface Tamper {
  /** What was done; the title of the test. */
  readonly what: string
  readonly log?: ReadonlyArray<string>
  readonly books?: ReadonlyArray<string>
  /** The finding that stands first, with words of its reason. */
  readonly names: Partial<Finding> & { readonly words: RegExp }
}

const at = (account: string, version: number) => `account_id = '${account}' AND version = ${version}`
const update = (set: string, account: string, version: number) =>
  `UPDATE events SET ${set} WHERE ${at(account, version)}`
const event = (invariant: Finding["invariant"], account: string, version: number, words: RegExp) =>
  ({ invariant, where: "events", account, version, words }) as const
const book = (account: string, version: number | undefined, column: string | undefined, words: RegExp) => ({
  invariant: "I8" as const,
  where: "read model" as const,
  account,
  ...(version === undefined ? {} : { version }),
  ...(column === undefined ? {} : { column }),
  words
})
const changed = /was changed/

const tampers: ReadonlyArray<Tamper> = [
  {
    what: "an instant moved by a millisecond",
    log: [update("recorded_at = recorded_at + '1 ms'", "alice", 3)],
    names: event("I5", "alice", 3, changed)
  },
  {
    what: "a changed hash",
    log: [update("hash = '!' || substr(hash, 2)", "bob", 2)],
    names: event("I5", "bob", 2, changed)
  },
  {
    what: "white space in a payload",
    log: [update("payload = replace(payload, ',', ', ')", "alice", 2)],
    names: event("I5", "alice", 2, changed)
  },
  {
    what: "a changed amount",
    log: [update(`payload = replace(payload, '"100"', '"900"')`, "alice", 3)],
    names: event("I5", "alice", 3, changed)
  },
  {
    what: "a payload that is no JSON",
    log: [update("payload = '{'", "carol", 2)],
    names: event("I5", "carol", 2, changed)
  },
  {
    what: "a changed type",
    log: [update("type = 'Withdrawn'", "alice", 2)],
    names: event("I5", "alice", 2, changed)
  },
  {
    what: "a changed schema version",
    log: [update("schema_version = 9", "alice", 1)],
    names: event("I5", "alice", 1, changed)
  },
  {
    what: "an effective instant that was added",
    log: [update("effective_at = recorded_at - interval '1 day'", "alice", 2)],
    names: event("I5", "alice", 2, changed)
  },
  {
    what: "a context that was added",
    log: [update(`context = '{"caller":"mallory"}'`, "alice", 2)],
    names: event("I5", "alice", 2, changed)
  },
  {
    what: "a changed command id",
    log: [update("command_id = 'other'", "alice", 2)],
    names: event("I5", "alice", 2, changed)
  },
  {
    what: "a changed command hash",
    log: [update("command_hash = 'other'", "alice", 2)],
    names: event("I5", "alice", 2, changed)
  },
  {
    what: "a changed ordinal",
    log: [update("ordinal = 7", "bob", 2)],
    names: event("I5", "bob", 2, changed)
  },
  {
    what: "a row that changed its account",
    log: [`UPDATE events SET account_id = 'erin', version = 5 WHERE ${at("dave", 3)}`],
    names: event("I1", "dave", 3, /committed, and is missing/)
  },
  {
    what: "a version renumbered",
    log: [update("version = 40", "alice", 4)],
    names: event("I1", "alice", 4, /missing, the next one is 5/)
  },
  {
    what: "the last version renumbered",
    log: [update("version = 40", "dave", 3)],
    names: event("I1", "dave", 3, /missing, the next one is 40/)
  },
  {
    what: "two versions exchanged",
    log: [
      update("version = 1000", "alice", 5),
      update("version = 5", "alice", 6),
      update("version = 6", "alice", 1000)
    ],
    names: event("I5", "alice", 5, changed)
  },
  {
    what: "a row deleted in the middle",
    log: [`DELETE FROM events WHERE ${at("bob", 3)}`],
    names: event("I1", "bob", 3, /missing, the next one is 4/)
  },
  {
    what: "a row deleted at the end",
    log: [`DELETE FROM events WHERE ${at("dave", 3)}`],
    names: event("I1", "dave", 3, /committed, and is missing/)
  },
  {
    what: "a row deleted at the start",
    log: [`DELETE FROM events WHERE ${at("carol", 1)}`],
    names: event("I1", "carol", 1, /missing, the next one is 2/)
  },
  {
    what: "a whole account deleted",
    log: ["DELETE FROM events WHERE account_id = 'dave'"],
    names: event("I1", "dave", 1, /missing, as are 2 later ones/)
  },
  {
    what: "a commit row deleted",
    log: ["DELETE FROM commits WHERE keys LIKE '%alice\",2%'"],
    names: { invariant: "I1", where: "commits", words: /it is missing, the next one is/ }
  },
  {
    what: "all events and commits deleted",
    log: ["DELETE FROM events", "DELETE FROM commits"],
    names: { invariant: "I1", where: "commits", words: /it is missing, and all up to/ }
  },
  {
    what: "a commit that lists other versions",
    log: [`UPDATE commits SET keys = replace(keys, '"dave",3,3', '"dave",4,4')`],
    names: event("I1", "dave", 4, /committed, and is missing/)
  },
  {
    what: "a commit that counts otherwise",
    log: ["UPDATE commits SET row_count = row_count + 1 WHERE keys LIKE '%dave%,3,3%'"],
    names: { invariant: "I1", where: "commits", words: /lists 1 events and counts 2/ }
  },
  {
    what: "a commit whose keys are no JSON",
    log: ["UPDATE commits SET keys = '[' WHERE keys LIKE '%dave%,3,3%'"],
    names: { invariant: "I1", where: "commits", words: /cannot be read/ }
  },
  {
    what: "a writer deleted",
    log: ["DELETE FROM writers WHERE node LIKE 'first%'"],
    names: event("I4", "alice", 1, /no commit of a known writer lists it/)
  },
  {
    what: "a snapshot with another balance",
    log: [
      `UPDATE snapshots SET state = replace(state, '"balance":"', '"balance":"9') WHERE account_id = 'alice' AND version = 3`
    ],
    names: {
      invariant: "I8",
      where: "snapshots",
      account: "alice",
      version: 3,
      column: "state",
      words: /state is/
    }
  },
  {
    what: "a snapshot with another hash",
    log: ["UPDATE snapshots SET hash = 'x' WHERE account_id = 'alice' AND version = 3"],
    names: {
      invariant: "I8",
      where: "snapshots",
      account: "alice",
      version: 3,
      column: "hash",
      words: /hash is x/
    }
  },
  {
    what: "a snapshot that cannot be read",
    log: ["UPDATE snapshots SET state = '{' WHERE account_id = 'alice' AND version = 3"],
    names: { invariant: "I8", where: "snapshots", account: "alice", version: 3, words: /cannot be read/ }
  },
  {
    what: "a snapshot with the digest of another",
    log: ["UPDATE snapshots SET digest = 'x' WHERE account_id = 'alice' AND version = 3"],
    names: {
      invariant: "I8",
      where: "snapshots",
      account: "alice",
      version: 3,
      column: "digest",
      words: /of another row/
    }
  },
  {
    what: "a snapshot of no event",
    log: ["UPDATE snapshots SET version = 999 WHERE account_id = 'alice' AND version = 3"],
    names: { invariant: "I8", where: "snapshots", account: "alice", version: 999, words: /no such event/ }
  },
  {
    what: "a balance off by one",
    books: ["UPDATE books_v1_balances SET balance = balance + 1 WHERE account = 'alice'"],
    names: book("alice", 7, "balance", /balance is 826, the log says 825/)
  },
  {
    what: "a balance row with another status",
    books: ["UPDATE books_v1_balances SET status = 'open' WHERE account = 'dave'"],
    names: book("dave", 3, "status", /status is open/)
  },
  {
    what: "a balance row with another owner",
    books: ["UPDATE books_v1_balances SET owner = 'Mallory' WHERE account = 'dave'"],
    names: book("dave", 3, "owner", /owner is Mallory/)
  },
  {
    what: "a balance row with other metadata",
    books: ["UPDATE books_v1_balances SET metadata = 'x' WHERE account = 'dave'"],
    names: book("dave", 3, "metadata", /metadata is x/)
  },
  {
    what: "a balance row ahead of the log",
    books: ["UPDATE books_v1_balances SET version = 99 WHERE account = 'bob'"],
    names: book("bob", 99, "version", /log ends at version 5/)
  },
  {
    what: "a balance row behind its lines",
    books: ["UPDATE books_v1_balances SET version = 2 WHERE account = 'dave'"],
    names: book("dave", 2, "status", /status is frozen/)
  },
  {
    what: "a balance row of no account",
    books: [
      "INSERT INTO books_v1_balances SELECT 'zoe', version, status, asset, owner, overdraft_limit, balance, metadata, recorded_at, hash FROM books_v1_balances WHERE account = 'dave'"
    ],
    names: book("zoe", 3, undefined, /no such account/)
  },
  {
    what: "a balance row deleted",
    books: ["DELETE FROM books_v1_balances WHERE account = 'dave'"],
    names: book("dave", 1, undefined, /at version 0 only/)
  },
  {
    what: "a line with another amount",
    books: ["UPDATE books_v1_statement_lines SET amount = 8 WHERE account = 'dave' AND version = 2"],
    names: book("dave", 2, "amount", /amount is 8, the log says 9/)
  },
  {
    what: "a line with another running balance",
    books: ["UPDATE books_v1_statement_lines SET balance = 8 WHERE account = 'dave' AND version = 2"],
    names: book("dave", 2, "balance", /balance is 8/)
  },
  {
    what: "a line with another description",
    books: ["UPDATE books_v1_statement_lines SET description = 'x' WHERE account = 'dave' AND version = 2"],
    names: book("dave", 2, "description", /description is x/)
  },
  {
    what: "a line with entries on contras that are no JSON",
    books: ["UPDATE books_v1_statement_lines SET contras = '{' WHERE account = 'dave' AND version = 2"],
    names: book("dave", 2, "contras", /contras is \{, the log says null/)
  },
  {
    what: "a balance that is no number",
    books: ["UPDATE books_v1_balances SET balance = 'NaN' WHERE account = 'alice'"],
    names: book("alice", 7, "balance", /balance row: balance is NaN/)
  },
  {
    what: "a line with an amount that is no number",
    books: ["UPDATE books_v1_statement_lines SET amount = 'NaN' WHERE account = 'dave' AND version = 2"],
    names: book("dave", 2, "amount", /amount is NaN/)
  },
  {
    what: "a transfer with an amount that is no number",
    books: ["UPDATE books_v1_transfers SET amount = 'NaN' WHERE id = 'rent'"],
    names: book("alice", 3, "amount", /transfer rent: amount is NaN/)
  },
  {
    what: "a contra sum that is no number",
    books: ["UPDATE books_v1_contra SET balance = 'NaN' WHERE contra = 'external:cash'"],
    names: book("external:cash", undefined, "balance", /NaN/)
  },
  {
    what: "a line deleted",
    books: ["DELETE FROM books_v1_statement_lines WHERE account = 'alice' AND version = 4"],
    names: book("alice", 4, undefined, /statement line is missing/)
  },
  {
    what: "a line of no event",
    books: [
      "INSERT INTO books_v1_statement_lines SELECT account, 99, type, amount, balance, asset, counterparty, description, command_id, recorded_at, effective_at FROM books_v1_statement_lines WHERE account = 'dave' AND version = 2"
    ],
    names: book("dave", 99, undefined, /no such event/)
  },
  {
    what: "a transfer with another amount",
    books: ["UPDATE books_v1_transfers SET amount = 101 WHERE id = 'rent'"],
    names: book("alice", 3, "amount", /transfer rent: amount is 101, the log says 100/)
  },
  {
    what: "a transfer deleted",
    books: ["DELETE FROM books_v1_transfers WHERE id = 'rent'"],
    names: book("alice", 3, "id", /transfer rent: it is missing/)
  },
  {
    what: "a transfer of no event",
    books: [
      "INSERT INTO books_v1_transfers SELECT 'forged', from_account, 2, to_account, to_version, asset, amount, description, recorded_at, effective_at FROM books_v1_transfers WHERE id = 'rent'"
    ],
    names: book("alice", 2, undefined, /transfer forged: the log has no such event/)
  },
  {
    what: "a transfer under an id that it would have in a group",
    books: [
      "INSERT INTO books_v1_transfers SELECT 'rent~0', from_account, from_version, to_account, to_version, asset, 9000, description, recorded_at, effective_at FROM books_v1_transfers WHERE id = 'rent'"
    ],
    names: book("alice", 3, undefined, /transfer rent~0: the log has no such event/)
  },
  {
    what: "a contra sum off by one",
    books: ["UPDATE books_v1_contra SET balance = balance + 1 WHERE contra = 'external:cash'"],
    names: book("external:cash", undefined, "balance", /1 minor units of USD\/2 off/)
  },
  {
    what: "a contra that no event names",
    books: ["INSERT INTO books_v1_contra VALUES ('external:zoe', 'USD/2', 0, 5)"],
    names: book("external:zoe", undefined, "balance", /5 minor units of USD\/2 off/)
  },
  {
    what: "a contra deleted",
    books: ["DELETE FROM books_v1_contra WHERE contra = 'external:cash'"],
    names: book("external:cash", undefined, "balance", /off the log/)
  }
]

/** A bound of one everywhere: every page, slice and look-up ends after each row. */
const tiny: AuditLimits = {
  pageRows: 2,
  pageSnapshots: 1,
  sliceAccounts: 1,
  pageCommits: 1,
  lookUpKeys: 1,
  assets: 1,
  contras: 9
}
const boundsOf = { plenty: defaultAuditLimits, tiny }

const verify = (limits: AuditLimits, account?: string) =>
  Effect.flatMap(Audit, (audit) =>
    audit.verify(account === undefined ? {} : { account: AccountId.make(account) })
  ).pipe(Effect.provideService(AuditConfig, limits))

/** The first finding is the one that names the row, and the report as a whole says no. */
const assertNames = (report: AuditReport, { words, ...named }: Tamper["names"]) => {
  const [first] = report.findings
  assert.deepInclude(first, named)
  assert.match(first?.reason ?? "", words)
  assert.isFalse(report.ok)
  if (named.invariant !== undefined) assert.isFalse(report.invariants[named.invariant])
}

layer(auditWorld(inject("postgresUrl"), inject("postgresUrl")), {
  excludeTestServices: true,
  timeout: "4 minutes"
})("the audit", (it) => {
  for (const [bounds, limits] of Object.entries(boundsOf)) {
    it.effect(`finds nothing in a ledger as it was written, and has seen all of it (${bounds})`, () =>
      Effect.gen(function* () {
        const { snapshots, ...report } = yield* verify(limits)
        assert.deepStrictEqual(report, {
          accounts: 6,
          events: 29,
          // Twenty-two commands one after another, and a fence for each lane of two nodes.
          commits: 26,
          behind: 0,
          parked: [],
          invariants: { I1: true, I2: true, I3: true, I4: true, I5: true, I8: true },
          findings: [],
          findingsTotal: 0,
          ok: true
        })
        assert.isAtLeast(snapshots, 2)
      })
    )
  }

  for (const { what, log = [], books = [], names } of tampers) {
    it.effect(`names ${what}`, () =>
      tampered(
        Effect.gen(function* () {
          const tampering = yield* Tampering
          yield* tampering.log(...log)
          yield* tampering.books(...books)
          const report = yield* verify(defaultAuditLimits)
          assertNames(report, names)
          // Where pages and slices end makes no difference.
          assert.deepStrictEqual((yield* verify(tiny)).findings[0], report.findings[0])
        })
      )
    )
  }

  it.effect("checks one account with its counter-legs when it is asked for it", () =>
    tampered(
      Effect.gen(function* () {
        const { log, books } = yield* Tampering
        yield* log(update("hash = 'x'", "carol", 1))
        yield* books("UPDATE books_v1_balances SET balance = balance + 1 WHERE account = 'bob'")
        for (const limits of Object.values(boundsOf)) {
          const alice = yield* verify(limits, "alice")
          assert.deepStrictEqual(alice.findings, [])
          assert.strictEqual(alice.accounts, 1)
          assert.strictEqual(alice.events, 7)
          assert.deepStrictEqual((yield* verify(limits, "nobody")).findings, [])
          assertNames(yield* verify(limits, "bob"), book("bob", 5, "balance", /balance is/))
          assertNames(yield* verify(limits, "carol"), event("I5", "carol", 1, changed))
        }
        yield* log("DELETE FROM events WHERE account_id = 'bob' AND version = 2")
        assertNames(yield* verify(tiny, "alice"), event("I2", "alice", 3, /counter-leg bob@2 is missing/))
        assertNames(yield* verify(tiny, "bob"), event("I1", "bob", 2, /missing/))
      })
    )
  )

  it.effect("tells of an account that it is parked, however many others are", () =>
    tampered(
      Effect.gen(function* () {
        const { books } = yield* Tampering
        yield* books(
          "INSERT INTO books_v1_parked_accounts SELECT 'a-' || n, 1, 'unreadable', now() FROM generate_series(1, 120) n",
          "INSERT INTO books_v1_parked_accounts VALUES ('erin', 1, 'unreadable', now())"
        )
        const report = yield* verify(defaultAuditLimits, "erin")
        assert.deepStrictEqual(
          report.parked.map((one) => `${one.account}@${one.version}`),
          ["erin@1"]
        )
      })
    )
  )

  it.effect("reports lag and parked accounts, and takes neither for a fault", () =>
    tampered(
      Effect.gen(function* () {
        const { books } = yield* Tampering
        yield* books(
          "DELETE FROM books_v1_statement_lines WHERE account = 'erin'",
          "DELETE FROM books_v1_balances WHERE account = 'erin'",
          "UPDATE books_v1_contra SET balance = balance - 50 WHERE contra = 'external:bank' AND asset = 'USD/2' AND partition_id = (SELECT min(partition_id) FROM books_v1_contra WHERE contra = 'external:bank' AND asset = 'USD/2')",
          "INSERT INTO books_v1_parked_accounts VALUES ('erin', 1, 'unreadable', now())"
        )
        const report = yield* verify(defaultAuditLimits)
        assert.deepStrictEqual(report.findings, [])
        assert.strictEqual(report.behind, 1)
        assert.deepStrictEqual(
          report.parked.map((one) => `${one.account}@${one.version}`),
          ["erin@1"]
        )
      })
    )
  )

  it.effect("compares contras beyond its limit by one sum an asset", () =>
    tampered(
      Effect.gen(function* () {
        const few = { ...defaultAuditLimits, contras: 1 }
        assert.isTrue((yield* verify(few)).ok)
        const { books } = yield* Tampering
        yield* books("UPDATE books_v1_contra SET balance = balance + 1 WHERE contra = 'external:cash'")
        assertNames(yield* verify(few), book("others", undefined, "balance", /1 minor units of USD.2 off/))
      })
    )
  )

  it.effect("counts every fault and lists a bounded number of each kind", () =>
    tampered(
      Effect.gen(function* () {
        const { books } = yield* Tampering
        yield* books(
          "INSERT INTO books_v1_statement_lines SELECT account, 1000 + n, type, amount, balance, asset, counterparty, description, command_id, recorded_at, effective_at FROM books_v1_statement_lines, generate_series(1, 500) AS n WHERE account = 'dave' AND version = 2"
        )
        const report = yield* verify(tiny)
        assert.strictEqual(report.findingsTotal, 500)
        assert.strictEqual(report.findings.length, 20)
      })
    )
  )
})
