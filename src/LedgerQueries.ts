/**
 * Every question that can be asked of the ledger, written down once: what it is about, its options, its answer.
 *
 * The methods of `Ledger`, the check of their arguments, the procedures of RPC with their payloads, the handlers, the
 * client, the routes of HTTP and the promises of `openLedger` are all derived from this table. A new query is one entry here, and its
 * answer in `Ledger.ts`.
 */
import { Effect, Option, Schema } from "effect"
import { InvalidCommand } from "./domain/Errors.ts"
import { Event } from "./domain/Event.ts"
import { AccountId, AccountPrefix, AnyCommandId, Instant, instantMax, Version } from "./domain/Ids.ts"
import { intervalFault } from "./domain/InstantText.ts"
import { auditedInvariants } from "./domain/Invariants.ts"
import { Amount, Asset } from "./domain/Money.ts"
import {
  AccountView,
  CommandView,
  Counterparty,
  HistoryEntry,
  HoldView,
  LineType,
  PastView,
  pageRowsMax,
  StatementLineView,
  SumView,
  TrialLineView
} from "./domain/Views.ts"

// The options. Their checks name no integer type of effect: that would change how a number is encoded in binary.

const option = <S extends Schema.Constraint>(schema: S) => Schema.optional(schema)

const wholeNumber = (isGood: (value: number) => boolean, message: string) =>
  Schema.Number.check(Schema.makeFilter<number>((value) => isGood(value) || message))

export const PageLimit = wholeNumber(
  (limit) => Number.isInteger(limit) && limit >= 1 && limit <= pageRowsMax,
  `must be a whole number of 1 to ${pageRowsMax}`
)
const PastVersion = wholeNumber(
  (version) => Number.isSafeInteger(version) && version >= 1,
  "must be a version: a whole number of 1 or more"
)
export const AfterVersion = wholeNumber(
  (version) => Number.isSafeInteger(version) && version >= 0,
  "must be a version: a whole number of 0 or more"
)
const PastInstant = wholeNumber(
  (instant) => Number.isInteger(instant) && instant >= 0 && instant <= instantMax,
  "must be epoch milliseconds: a whole number from 0 to the end of the year 9999"
)
/** A bound of an interval may lie beyond all instants. */
const Bound = wholeNumber(Number.isInteger, "must be epoch milliseconds, a whole number")

const instants: ReadonlySet<unknown> = new Set([PastInstant, Bound])

/** Of an optional option the schema that it has where it is given. */
export const givenOf = (option: Schema.Top): Schema.Top => {
  const inner = "schema" in option && Schema.isSchema(option.schema) ? option.schema : option
  const [first] = "members" in inner && Array.isArray(inner.members) ? inner.members : [inner]
  return first as Schema.Top // the first member of `UndefinedOr`
}

/** Whether an option is an instant, which a door may carry as a text. */
export const isInstant = (option: Schema.Top): boolean => instants.has(givenOf(option))

const StatementOrder = Schema.Literals(["recorded", "effective"])

const consistency = { readToken: option(Schema.String) }
const page = { cursor: option(Schema.String), limit: option(PageLimit) }

// The answers that are not views of the domain.

const Page = <S extends Schema.Constraint>(row: S) =>
  Schema.Struct({ rows: Schema.Array(row), next: Schema.UndefinedOr(Schema.String) })

/** What a node of an older version leaves out is absent. */
const StatementPageView = Schema.Struct({
  ...Page(StatementLineView).fields,
  asset: Schema.optionalKey(Asset),
  opening: Schema.optionalKey(Schema.BigIntFromString),
  closing: Schema.optionalKey(Schema.BigIntFromString)
})

const TransferView = Schema.Struct({
  id: AnyCommandId,
  from: AccountId,
  fromVersion: Version,
  to: AccountId,
  toVersion: Version,
  asset: Asset,
  amount: Amount,
  description: Schema.NullOr(Schema.String),
  recordedAt: Instant,
  effectiveAt: Instant
})

/** The balance of the world outside the books, seen from it: minus what came in through it. */
const ContraBalanceView = Schema.Struct({
  contra: Schema.String,
  asset: Asset,
  balance: Schema.BigIntFromString
})

const DatedTrialBalanceView = Schema.Struct({
  recordedAt: Instant,
  /** What a node of an older version leaves out is absent. */
  knownAt: Schema.optionalKey(Instant),
  lines: Schema.Array(TrialLineView),
  parked: Schema.Int
})

const CommittedEventView = Schema.Struct({
  account: AccountId,
  version: Version,
  event: Schema.UndefinedOr(Event),
  commandId: AnyCommandId,
  recordedAt: Instant,
  effectiveAt: Instant,
  hash: Schema.String,
  cursor: Schema.String
})

/** The nodes that share the accounts, as the one that is asked knows them just now. */
const NodesView = Schema.Struct({
  /** Shards are numbered from 1 to this. */
  shards: Schema.Int,
  nodes: Schema.Array(
    Schema.Struct({
      node: Schema.String,
      /** It is the one that answers. */
      isAsked: Schema.Boolean,
      shards: Schema.Array(Schema.Int)
    })
  ),
  /** Those whose owner is not known: they are moving, or their node is not connected. */
  unowned: Schema.Array(Schema.Int),
  /**
   * Which node runs which part of the read side, as the one that is asked has heard; empty on a node alone, which runs all of
   * it. Absent from a node of an earlier version.
   */
  duties: Schema.optionalKey(
    Schema.Array(
      Schema.Struct({
        duty: Schema.String,
        /** The last reported owner; absent where no node ever reported. */
        node: Schema.optionalKey(Schema.String),
        /** Milliseconds since the owner's last report; 0 for the node that is asked. */
        silentMs: Schema.Int,
        /** The last report is so old that no node can be running it. */
        isUnowned: Schema.Boolean
      })
    )
  )
})

/** A row that a projection could not take, or that was left out of it, and since when. */
const ParkedView = Schema.Struct({
  account: AccountId,
  version: Version,
  reason: Schema.String,
  since: Instant
})

/** What an audit found. Findings are a bounded list, the root causes first; `findingsTotal` counts all. */
const AuditReportView = Schema.Struct({
  accounts: Schema.Int,
  events: Schema.Int,
  commits: Schema.Int,
  snapshots: Schema.Int,
  /** Accounts that the read model has not caught up with. Lag is no fault. */
  behind: Schema.Int,
  /** Accounts that are parked, at most a hundred of them. */
  parked: Schema.Array(ParkedView),
  /** Events that a person left out of the read model. */
  skipped: Schema.Array(ParkedView),
  invariants: Schema.Record(Schema.Literals(auditedInvariants), Schema.Boolean),
  findings: Schema.Array(
    Schema.Struct({
      invariant: Schema.Literals(auditedInvariants),
      where: Schema.Literals(["events", "commits", "snapshots", "read model"]),
      account: Schema.optionalKey(Schema.String),
      version: Schema.optionalKey(Schema.Number),
      column: Schema.optionalKey(Schema.String),
      reason: Schema.String
    })
  ),
  findingsTotal: Schema.Int,
  ok: Schema.Boolean
})

/** A number that nodes of earlier versions do not know, and so do not send. */
const count = Schema.Int.pipe(Schema.withDecodingDefaultKey(Effect.succeed(0)))

const NodeStatsView = Schema.Struct({
  inFlight: count,
  residents: count,
  batches: count,
  rows: count,
  rowsMax: count,
  behind: count,
  committed: count,
  conflicts: count,
  repeats: count,
  unknown: count,
  fenced: count,
  trouble: Schema.UndefinedOr(Schema.String),
  commitMs: Schema.Number
})

/** The id that a query is about is its method's first argument; `books` are all accounts, or the node. */
export const subjects = {
  account: { account: AccountId },
  commandId: { commandId: AnyCommandId },
  prefix: { prefix: AccountPrefix },
  books: {}
} as const
export type Subject = keyof typeof subjects

export type Fields = Schema.Struct.Fields
/** Those of the scopes of tokens that allow questions. */
type QueryScope = "read" | "audit"
type OptionsOf<F extends Fields> = Schema.Struct.Type<F>

/**
 * Where a query is asked over HTTP. Queries may share a path: a request asks the first of them that takes all of its
 * parameters.
 */
interface HttpPlace {
  /** With `:` before the name of the id; undefined: made of the query's name and subject. */
  readonly path: `/v1/${string}` | undefined
  /** Parameters, with their values, that choose this query among those of its path and are no options of it. */
  readonly chosenBy: Readonly<Record<string, string>>
  /** A path that asks of the empty id, which is no part of a path; undefined where an id cannot be empty. */
  readonly pathOfEmpty: `/v1/${string}` | undefined
}

const placed = (
  path?: HttpPlace["path"],
  chosenBy: HttpPlace["chosenBy"] = {},
  pathOfEmpty?: HttpPlace["pathOfEmpty"]
): HttpPlace => ({ path, chosenBy, pathOfEmpty })

/** One entry of the table. */
export interface Query<
  About extends Subject,
  F extends Fields,
  Answer extends Schema.Top,
  Streams extends boolean,
  Options
> {
  /** What it answers, in a sentence: the summary of its route over HTTP. */
  readonly says: string
  readonly about: About
  /** Those of the options, which are the method's last argument. */
  readonly fields: F
  readonly answer: Answer
  /** Whether the answer is a stream, which may stay open for long. */
  readonly isStream: Streams
  /** What the token of a caller must allow. */
  readonly scope: QueryScope
  /**
   * Options by a later name, each with the name that nodes of every version know: it is checked, sent and answered under that one. Both
   * may be given where they say the same.
   */
  readonly laterNames: Readonly<Record<string, string>>
  /** Says what is wrong with options each of which is right by itself. */
  readonly rule: ((options: OptionsOf<F>) => InvalidCommand | undefined) | undefined
  /**
   * The answer of a query by command id, without what belongs to accounts that its caller may not name. A query
   * about no account that has none may only be asked by callers who may name every account.
   */
  readonly conceal:
    | ((answer: Answer["Type"], mayName: (account: string) => boolean) => Answer["Type"])
    | undefined
  /** Its place over HTTP. */
  readonly http: HttpPlace
  /** The type of the options; no value has this property. */
  readonly "~options"?: Options
}

const query = <About extends Subject, F extends Fields, Answer extends Schema.Top, Options = OptionsOf<F>>(
  says: string,
  about: About,
  fields: F,
  answer: Answer,
  further: Partial<
    Pick<Query<About, F, Answer, false, Options>, "scope" | "laterNames" | "rule" | "conceal" | "http">
  > = {}
): Query<About, F, Answer, false, Options> => ({
  says,
  about,
  fields,
  answer,
  isStream: false,
  scope: further.scope ?? "read",
  laterNames: further.laterNames ?? {},
  rule: further.rule,
  conceal: further.conceal,
  http: further.http ?? placed()
})

/** A stream is resumed, after a lost connection for instance, with the `cursor` of its last item as `after`. */
const streamQuery = <
  About extends Subject,
  F extends { readonly after: Schema.Top },
  Answer extends Schema.Top & { readonly Type: { readonly cursor: string } }
>(
  says: string,
  about: About,
  fields: F,
  answer: Answer,
  http: HttpPlace = placed()
): Query<About, F, Answer, true, OptionsOf<F>> => ({
  says,
  about,
  fields,
  answer,
  isStream: true,
  scope: "read",
  laterNames: {},
  rule: undefined,
  conceal: undefined,
  http
})

/**
 * Which past is asked for: a version of the account, or an instant (epoch milliseconds) by which it had been recorded; `recordedAt` is
 * an older name of that.
 */
export type Past =
  | { readonly version: number }
  | { readonly knownAt: number }
  | { readonly recordedAt: number }

const past = { version: option(PastVersion), knownAt: option(PastInstant), recordedAt: option(PastInstant) }

/** Options of a query that needs exactly one of the two ways to name the past. */
const queryPast = <Answer extends Schema.Top>(
  says: string,
  answer: Answer
): Query<"account", typeof past, Answer, false, Past> =>
  query(says, "account", past, answer, {
    http: placed("/v1/accounts/:account"),
    laterNames: { knownAt: "recordedAt" },
    rule: ({ version, recordedAt }) =>
      (version === undefined) === (recordedAt === undefined)
        ? InvalidCommand.at("version", "give exactly one of version and knownAt")
        : undefined
  })

export const ledgerQueries = {
  /**
   * From the read model; pass a receipt's `readToken` to see at least that write. Its `completeTo` tells how far
   * behind the log the answer may be.
   */
  balance: query(
    "An account as the read model has it: balance, held, available and open holds.",
    "account",
    consistency,
    AccountView,
    { http: placed("/v1/accounts/:account") }
  ),
  /** From the account's actor: everything acknowledged before is in it. */
  strongBalance: query(
    "An account as its owner has it: everything acknowledged before is in it.",
    "account",
    {},
    AccountView,
    {
      http: placed("/v1/accounts/:account", { consistency: "strong" })
    }
  ),
  /** From the log: the same answer for ever. */
  balanceAt: queryPast(
    "An account as it was at a version or at a recorded instant: the same answer for ever.",
    PastView
  ),
  /** From the log: events above version `after`, oldest first. */
  history: query(
    "The events of an account, oldest first.",
    "account",
    { after: option(AfterVersion), limit: option(PageLimit) },
    Schema.Array(HistoryEntry),
    { http: placed("/v1/accounts/:account/events") }
  ),
  /**
   * From the read model, by pages, in recorded or (by `by`; `axis` is its older name) effective order: each line with the account's balance
   * after it in that order, whatever is filtered. Lines are recorded (or effective) at or after `from` and before `to`;
   * `opening` and `closing` are the account's balances there.
   */
  statement: query(
    "The lines of an account in recorded or effective order, with running, opening and closing balance.",
    "account",
    {
      from: option(Bound),
      to: option(Bound),
      by: option(StatementOrder),
      axis: option(StatementOrder),
      types: option(
        // No more than there are, in whatever order.
        Schema.Array(LineType).check(Schema.isMinLength(1), Schema.isMaxLength(LineType.literals.length))
      ),
      counterparty: option(Counterparty),
      ...page,
      ...consistency
    },
    StatementPageView,
    {
      laterNames: { by: "axis" },
      rule: ({ from, to }) => {
        const fault = intervalFault(from, to)
        return fault === undefined ? undefined : InvalidCommand.at("from", fault)
      }
    }
  ),
  /**
   * From the read model: the holds of an account that are open at the instant of the answer, in order of id; those that expire
   * before `expiringBefore` alone, where it is given.
   */
  holds: query(
    "The open holds of an account.",
    "account",
    { expiringBefore: option(Bound), ...page, ...consistency },
    Page(HoldView)
  ),
  /**
   * From the read model: the open holds of all accounts, or of those whose ids begin with `prefix`, in the order in which they
   * expire. Holds that never expire are not among them.
   */
  holdsByExpiry: query(
    "The open holds of all accounts, in the order in which they expire.",
    "books",
    { prefix: option(AccountPrefix), expiringBefore: option(Bound), ...page, ...consistency },
    Page(HoldView),
    { http: placed("/v1/holds") }
  ),
  /** By the id of its command; none when there is no such transfer, or it is not visible yet. */
  transfer: query(
    "A transfer, by the id of its command.",
    "commandId",
    consistency,
    Schema.Option(TransferView),
    {
      http: placed("/v1/transfers/:commandId"),
      conceal: (found, mayName) => Option.filter(found, ({ from, to }) => mayName(from) || mayName(to))
    }
  ),
  /** From the log: a command of any kind by its id, its reversals, and what it reverses; none was accepted under another. */
  find: query(
    "What became of a command: its legs, its reversals, and what it reverses.",
    "commandId",
    {},
    Schema.Option(CommandView),
    {
      http: placed("/v1/commands/:commandId"),
      // Its legs on the caller's accounts, as receipts name them: where the others are, is told by these events and by their holds.
      conceal: (found, mayName) =>
        Option.flatMap(found, (command) => {
          const legs = command.legs.filter(({ account }) => mayName(account))
          if (legs.length === 0) return Option.none()
          return Option.some(
            legs.length === command.legs.length ? command : { ...command, legs, isPartial: true }
          )
        })
    }
  ),
  /** In order of id: all, or those that begin with `prefix`. */
  accounts: query(
    "The accounts, in order of id.",
    "books",
    { prefix: option(AccountPrefix), ...page, ...consistency },
    Page(AccountView)
  ),
  /**
   * What all accounts that begin with a prefix have together, by asset, and how many they are: of what had been recorded
   * by `knownAt` (default: now) and counts by `effectiveAt` (default: all of it). Waits, bounded, until that is settled.
   */
  sum: query(
    "What the accounts of a prefix have together, by asset, and how many they are.",
    "prefix",
    { asset: option(Asset), effectiveAt: option(PastInstant), knownAt: option(PastInstant) },
    SumView,
    { http: placed("/v1/sums/:prefix", {}, "/v1/sums") }
  ),
  contraBalances: query(
    "What came in from outside and went out, by contra account and asset.",
    "books",
    {},
    Schema.Array(ContraBalanceView)
  ),
  /** The sums of every asset at one instant of the read model; each `total` is zero once it has caught up (I2). */
  trialBalance: query(
    "The sums of each asset over all accounts, as the read model has them now.",
    "books",
    {},
    Schema.Array(TrialLineView)
  ),
  /**
   * The same as of an instant `knownAt` (or by its older name `recordedAt`; default: now), from everything recorded up to then
   * and nothing else: `total` is zero (I2), whatever is committed meanwhile. Waits, bounded, until the instant is
   * closed and the read model has reached it.
   */
  trialBalanceAt: query(
    "The sums of each asset over all accounts as of a recorded instant, which total zero.",
    "books",
    { knownAt: option(PastInstant), recordedAt: option(PastInstant) },
    DatedTrialBalanceView,
    {
      laterNames: { knownAt: "recordedAt" },
      http: placed("/v1/trial-balance")
    }
  ),
  /**
   * Checks I1-I5 and I8 in one walk over the log, or over one account and its counter-legs. Takes as long as the log is,
   * in bounded memory; a node does one at a time, and answers `Overloaded` to a second.
   */
  verify: query(
    "Checks the invariants over the log and the read model, or over one account.",
    "books",
    { account: option(AccountId) },
    AuditReportView,
    { scope: "audit" }
  ),
  /** Accounts that the books could not go on with, at the event that holds each of them up, since when and why: at most 1,000. */
  parked: query(
    "The accounts that the books could not go on with, and why.",
    "books",
    {},
    Schema.Array(ParkedView)
  ),
  /** Which node owns which shards, as far as the node that is asked is connected with the others. */
  nodes: query("The nodes of the cluster, and which shards each of them owns.", "books", {}, NodesView),
  /** Of the node that is asked; in process it never fails. */
  stats: query("What the node that is asked counts of its commands and commits.", "books", {}, NodeStatsView),
  /**
   * Every committed event after a cursor, in order on each account, at least once. Never ends by itself; as slow
   * as its consumer.
   */
  subscribe: streamQuery(
    "Every committed event after a cursor, in order on each account.",
    "books",
    { after: option(Schema.String), accountPrefix: option(AccountPrefix) },
    CommittedEventView,
    placed("/v1/feed")
  )
}
