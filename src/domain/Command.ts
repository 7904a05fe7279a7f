/**
 * Commands: what a client may ask of the ledger, and how a value from outside is checked before anything else sees
 * it.
 */
import { type Brand, Exit, Result, Schema, Struct } from "effect"
import * as SchemaJITCompiler from "effect/schema/SchemaJITCompiler"
import { InvalidCommand } from "./Errors.ts"
import {
  AccountId,
  AccountOrContra,
  AnyCommandId,
  CommandId,
  ContraId,
  Instant,
  instantMax,
  isContra,
  OriginalId,
  Version
} from "./Ids.ts"
import { Amount, Asset, OverdraftLimit, Rate, Rounding } from "./Money.ts"
import { accountsOfReversal } from "./Original.ts"
import { refuse, type Sought, strictFor } from "./StrictDecoding.ts"

/** Most legs that one journal may have. */
export const journalLegsMax = 100

/** Most commands that one group may have, and most events that they may come to. */
export const groupCommandsMax = 100
const groupEventsMax = 500

/** Most exchange rates that one journal may name. */
const journalRatesMax = 10

// PostgreSQL text holds no NUL, and UTF-8 no lone surrogate: what was hashed would not be what is read back.
export const storable = Schema.makeFilter<string>(
  (value) =>
    (value.isWellFormed() && !value.includes("\u0000")) ||
    "must be well-formed Unicode without the NUL character"
)
const text = (max: number, min = 1) =>
  Schema.String.check(
    Schema.isMinLength(min, { message: "must not be empty" }),
    Schema.isMaxLength(max, { message: `must have at most ${max} characters` }),
    storable
  )
const Description = Schema.optionalKey(text(256))

/** Free text kept with an account, or with a movement of money: at most 16 keys of 64, values of 256 characters. */
export const AccountMetadata = Schema.Record(text(64), text(256, 0)).check(Schema.isMaxProperties(16))

/** The caller and the trace of a command: kept with every event, covered by its hash, never interpreted. */
export const CommandContext = Schema.Struct({
  caller: Schema.optionalKey(text(128)),
  correlationId: Schema.optionalKey(text(128)),
  causationId: Schema.optionalKey(text(128)),
  traceparent: Schema.optionalKey(text(64))
})
export type CommandContext = typeof CommandContext.Type

/** One side of a journal: a debit takes from the account, a credit gives to it. */
export const Leg = Schema.Struct({
  /** Several legs may name one account; a leg may be on a contra account, outside of the books. */
  account: AccountOrContra,
  side: Schema.Literals(["debit", "credit"]),
  amount: Amount,
  /**
   * The asset that the caller means by `amount`; without it the account's own. A contra account has none: there it may be
   * left out where all accounts of the journal have the same.
   */
  asset: Schema.optionalKey(Asset)
})
export type Leg = typeof Leg.Type

/** What an account or contra of an original gives or gets back. A contra that moved several assets needs one here. */
const ReversalLeg = Schema.Struct({
  account: AccountOrContra,
  amount: Amount,
  asset: Schema.optionalKey(Asset)
})

/**
 * The rate of an exchange: what the legs in `base` come to, times `rate` and rounded, is what the legs in `quote` come to.
 * `rate` is in whole units, so `10/11` from `USD/2` to `JPY/0` is ten yen for eleven dollars.
 */
export const Exchange = Schema.Struct({ base: Asset, quote: Asset, rate: Rate, rounding: Rounding })
export type Exchange = typeof Exchange.Type

/** The movements that a frozen account refuses: those that take from it, those that give to it, or both. */
export const FrozenSide = Schema.Literals(["debits", "credits", "both"])
export type FrozenSide = typeof FrozenSide.Type
const millisecondsMessage = `must be a whole number of milliseconds, 1 to ${instantMax}`
const Milliseconds = Schema.Number.annotate({ message: millisecondsMessage }).check(
  Schema.isInt({ message: millisecondsMessage }),
  Schema.isBetween({ minimum: 1, maximum: instantMax }, { message: millisecondsMessage })
)

const reversalNumberMessage = "must be a whole number, 1 to 999"
export const ReversalNumber = Schema.Number.annotate({ message: reversalNumberMessage }).check(
  Schema.isInt({ message: reversalNumberMessage }),
  Schema.isBetween({ minimum: 1, maximum: 999 }, { message: reversalNumberMessage })
)

const common = {
  commandId: CommandId,
  /** When the command counts in the business, past instants included; without it the recorded instant. */
  effectiveAt: Schema.optionalKey(Instant),
  /** The version that the (first) account must be at; the command is refused with `VersionConflict` at any other. */
  expectedVersion: Schema.optionalKey(Version),
  context: Schema.optionalKey(CommandContext)
}

/** The asset that the caller means by an amount where the account or the original has one already: any other is refused. */
const meantAsset = Schema.optionalKey(Asset)

const noted = { description: Description, metadata: Schema.optionalKey(AccountMetadata) }

const movement = { ...common, amount: Amount, asset: Schema.optionalKey(Asset), ...noted }

const kinds = {
  OpenAccount: {
    ...common,
    account: AccountId,
    asset: Asset,
    owner: text(128),
    overdraftLimit: Schema.optionalKey(OverdraftLimit),
    metadata: Schema.optionalKey(AccountMetadata)
  },
  /** Money enters the books from `contra` (default `external:bank`). */
  Deposit: { ...movement, account: AccountId, contra: Schema.optionalKey(ContraId) },
  /** Money leaves the books to `contra` (default `external:bank`). */
  Withdraw: { ...movement, account: AccountId, contra: Schema.optionalKey(ContraId) },
  Transfer: { ...movement, from: AccountId, to: AccountId },
  /**
   * Any number of legs that sum to zero in each asset, all or nothing: the general case of a transfer. Whether its accounts
   * are covered is judged by what all of its legs together leave on them.
   */
  PostJournal: {
    ...common,
    legs: Schema.Array(Leg).check(
      Schema.isMinLength(2),
      Schema.isMaxLength(journalLegsMax),
      Schema.makeFilter<ReadonlyArray<Leg>>(
        (legs) =>
          !legs.every(({ account }) => isContra(account)) || "must have a leg on an account of the books"
      )
    ),
    /** At which rates assets are exchanged; the legs are held against them. */
    fx: Schema.optionalKey(
      Schema.Array(Exchange).check(Schema.isMinLength(1), Schema.isMaxLength(journalRatesMax))
    ),
    ...noted
  },
  /** Changes what is given, at least one of the three; `metadata` takes the place of all that was there before. */
  UpdateAccount: {
    ...common,
    account: AccountId,
    owner: Schema.optionalKey(text(128)),
    metadata: Schema.optionalKey(AccountMetadata),
    overdraftLimit: Schema.optionalKey(OverdraftLimit),
    /** Of the overdraft limit. */
    asset: meantAsset,
    description: Description
  },
  /** Keeps money back for a payment to come; the command's id is the hold's. See Holds.ts. */
  PlaceHold: {
    ...movement,
    account: AccountId,
    /** From this instant on it keeps nothing back; without it and `expiresIn`, until it is captured or released. */
    expiresAt: Schema.optionalKey(Instant),
    /** The same in milliseconds from when the command is recorded. */
    expiresIn: Schema.optionalKey(Milliseconds),
    /** Where its captures go; without it, each of them may say so. */
    to: Schema.optionalKey(AccountOrContra)
  },
  /** Pays from a hold. Without `amount`, all that remains of it. */
  CaptureHold: {
    ...common,
    account: AccountId,
    hold: CommandId,
    amount: Schema.optionalKey(Amount),
    asset: meantAsset,
    /** Gives free what remains after it. */
    final: Schema.optionalKey(Schema.Boolean),
    /** An account or a contra; `external:bank` where neither the hold nor the command names one. */
    to: Schema.optionalKey(AccountOrContra),
    /** Whether more than remains may be taken from what is available on the account; "refuse" when absent. */
    excess: Schema.optionalKey(Schema.Literals(["refuse", "fromAvailable"])),
    ...noted
  },
  /** Changes the total of a hold, what is captured and released included, or when it expires. */
  AdjustHold: {
    ...common,
    account: AccountId,
    hold: CommandId,
    amount: Schema.optionalKey(Amount),
    asset: meantAsset,
    expiresAt: Schema.optionalKey(Instant),
    ...noted
  },
  /** Gives free what a hold keeps back. Without `amount`, all of it. */
  ReleaseHold: {
    ...common,
    account: AccountId,
    hold: CommandId,
    amount: Schema.optionalKey(Amount),
    asset: meantAsset,
    ...noted
  },
  /**
   * Gives back what an earlier command moved: all that is left of it, `amount` of a command that moved one amount, or what
   * `legs` name of those that got it (or paid it). Its id is the ledger's own, made of `original` and `n`: whichever caller sends the
   * n-th reversal, it lands once. See Reversal.ts.
   */
  Reverse: {
    ...common,
    original: OriginalId,
    n: Schema.optionalKey(ReversalNumber),
    amount: Schema.optionalKey(Amount),
    /** Of `amount`, and of the legs that name none. */
    asset: meantAsset,
    legs: Schema.optionalKey(
      Schema.Array(ReversalLeg).check(Schema.isMinLength(1), Schema.isMaxLength(journalLegsMax))
    ),
    reason: text(256),
    ...noted,
    /** The account that pays what another one cannot give back. */
    shortfall: Schema.optionalKey(AccountId)
  },
  /** `side` is `both` where it is absent. */
  FreezeAccount: {
    ...common,
    account: AccountId,
    side: Schema.optionalKey(FrozenSide),
    reason: Description,
    ...noted
  },
  UnfreezeAccount: {
    ...common,
    account: AccountId,
    side: Schema.optionalKey(FrozenSide),
    reason: Description,
    ...noted
  },
  CloseAccount: { ...common, account: AccountId, reason: Description, ...noted }
}

/** What these are about is looked up before they are decided, which a group could not do for one of several. */
const { CaptureHold: _, Reverse: __, ...groupable } = kinds
type Kinds = typeof groupable

/** The command of a group has all fields of its kind but those that the group has for all of them. */
const memberKinds = Object.fromEntries(
  Object.entries(groupable).map(([kind, { commandId: _, context: __, ...fields }]) => [kind, fields])
) as { readonly [Kind in keyof Kinds]: Omit<Kinds[Kind], "commandId" | "context"> } // what the line above leaves
const GroupMember = Schema.TaggedUnion(memberKinds)
type GroupMember = typeof GroupMember.Type

/** How many events a command comes to at most. */
const eventsOf = (member: GroupMember): number => {
  if (member._tag === "Transfer") return 2
  return member._tag === "PostJournal" ? member.legs.length : 1
}

const all = {
  ...kinds,
  /** Commands that are decided in order, each on what those before it leave, and committed all or none of them. */
  Group: {
    ...common,
    commands: Schema.Array(GroupMember).check(
      Schema.isMinLength(1, { message: "must not be empty" }),
      Schema.isMaxLength(groupCommandsMax, { message: `must be ${groupCommandsMax} commands at most` }),
      Schema.makeFilter<ReadonlyArray<GroupMember>>(
        (members) =>
          members.reduce((sum, member) => sum + eventsOf(member), 0) <= groupEventsMax ||
          `must come to ${groupEventsMax} events at most`
      )
    )
  }
}

/** What a caller may ask. */
export const AskedCommand = Schema.TaggedUnion(all)
export type AskedCommand = typeof AskedCommand.Type

/**
 * Tells subscribers of an account that a hold has expired, `amount` of which became free at `expiredAt`. The ledger's own, under an
 * id made of the hold's: no door takes it from a caller, and however many nodes send it, it lands once. See actors/notices.
 */
const NoteExpiry = {
  ...common,
  commandId: AnyCommandId,
  account: AccountId,
  hold: CommandId,
  amount: Amount,
  expiredAt: Instant
}

export const Command = Schema.TaggedUnion({ ...all, NoteExpiry })
export type Command = typeof Command.Type

type Plain<T> =
  T extends Brand.Brand<string>
    ? string
    : T extends string | number | bigint | boolean
      ? T
      : { readonly [K in keyof T]: Plain<T[K]> }
type WithOptionalId<T> = T extends { readonly commandId: string }
  ? Omit<T, "commandId"> & { readonly commandId?: string }
  : never

/** A command as host code writes it: plain strings and bigints; `commandId` is made (UUID v7) when absent. */
export type CommandInput = WithOptionalId<Plain<AskedCommand>>

const tags: ReadonlyArray<string> = Struct.keys(AskedCommand.cases)
const memberTags: ReadonlyArray<string> = Struct.keys(GroupMember.cases)

type Fault = InvalidCommand["faults"][number]

/** Why it is no command of these kinds, before its fields are looked at, because each kind has others. */
const kindFaultOf = (
  input: unknown,
  kinds: ReadonlyArray<string>,
  path: ReadonlyArray<string>
): ReadonlyArray<Fault> => {
  if (!isObject(input) || Array.isArray(input)) {
    const found = input === null ? "null" : Array.isArray(input) ? "an array" : `a ${typeof input}`
    return [{ path, message: `must be an object, not ${found}` }]
  }
  const tag = input._tag
  if (typeof tag === "string" && kinds.includes(tag)) return []
  const found = typeof tag === "string" ? `, not "${tag.slice(0, 40)}"` : ""
  return [{ path, message: `_tag must be one of ${kinds.join(", ")}${found}` }]
}

/** What is no command of any kind. */
const kindFault = (input: unknown): InvalidCommand | undefined => {
  const faults = kindFaultOf(input, tags, [])
  return faults.length === 0 ? undefined : new InvalidCommand({ faults })
}

/** The same faults, where one is that a member of a group is of no kind told as that of a command is. */
const withKinds = ({ faults }: InvalidCommand, input: unknown): InvalidCommand =>
  new InvalidCommand({
    faults: faults.flatMap((fault) => {
      const [field, index = "", ...deeper] = fault.path
      if (field !== "commands" || index === "" || deeper.length > 0) return [fault]
      const own = kindFaultOf(member(member(input, "commands"), index), memberTags, fault.path)
      return own.length === 0 ? [fault] : own
    })
  })

const checkedBy = (schema: Schema.ConstraintDecoder<AskedCommand>) => {
  // Compiled where the host allows code from text, else interpreted: every command is checked here.
  SchemaJITCompiler.enable(schema.ast)
  // An exit is what the decoder makes of it; a result would be two objects and a function more.
  const decode = Schema.decodeUnknownExit(schema)
  const decodeStrictly = Schema.decodeUnknownResult(schema)
  return (input: unknown, sought: Sought = "all"): Result.Result<AskedCommand, InvalidCommand> => {
    // The strict decoder builds a set of the known keys at each call, which costs twice as much as all the rest.
    const known = decode(input)
    if (Exit.isSuccess(known) && isWhole(input, known.value)) return Result.succeed(known.value)
    const fault = kindFault(input)
    if (fault !== undefined) return Result.fail(fault)
    const decoded = decodeStrictly(input, strictFor(input, sought))
    if (Result.isFailure(decoded)) return Result.fail(withKinds(refuse(decoded.failure), input))
    const faults = objectFaults(input, decoded.success, [])
    return faults.length === 0 ? Result.succeed(decoded.success) : Result.fail(new InvalidCommand({ faults }))
  }
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null

/** What a value is that is of type object: a map or a date has fields that no decoder sees, and would count as one without any. */
const kindOf = (value: unknown): string => Object.prototype.toString.call(value).slice("[object ".length, -1)

/** Nothing of the input was dropped by the decoder, at any depth. */
const isWhole = (input: unknown, kept: unknown): boolean => {
  if (!isObject(input) || !isObject(kept)) return input === kept
  for (const key in input) {
    const value = kept[key]
    if (!isObject(value)) {
      // Of what was dropped there is nothing, or a method of all objects. To ask for the key itself would take as long as the decoder.
      if (value === undefined || typeof value === "function") return false
      continue
    }
    if (!Object.hasOwn(kept, key)) return false
    if (!Array.isArray(value) && kindOf(input[key]) !== "Object") return false
    if (!isWhole(input[key], value)) return false
  }
  return true
}

/** Where the decoder took something for an object with fields that is another kind of object. */
const objectFaults = (input: unknown, kept: unknown, path: ReadonlyArray<string>): ReadonlyArray<Fault> => {
  if (!isObject(input) || !isObject(kept)) return []
  const kind = kindOf(input)
  if (kind !== "Object" && !Array.isArray(kept))
    return [{ path, message: `must be an object, not a ${kind}` }]
  return Object.keys(kept).flatMap((key) => objectFaults(input[key], kept[key], [...path, key]))
}

/** Checks a command given as host values (bigint amounts). */
export const fromHost = checkedBy(Schema.toType(AskedCommand))

/** Checks a command given as JSON (amounts are strings). */
export const fromJson = checkedBy(AskedCommand)

/**
 * The accounts whose streams a command may append to, as far as the command names them: where a capture goes may stand in
 * the hold alone. `expectedVersion` means the first of them.
 */
export const accountsOf = (command: Command | GroupMember): ReadonlyArray<AccountId> => {
  switch (command._tag) {
    case "Group":
      return [...new Set(command.commands.flatMap(accountsOf))]
    case "Transfer":
      return [command.from, command.to]
    case "PostJournal":
      return [...new Set(command.legs.flatMap(({ account }) => (isContra(account) ? [] : [account])))]
    case "CaptureHold": {
      const { account, to } = command
      return to === undefined || to === account || isContra(to) ? [account] : [account, to]
    }
    case "Reverse":
      return accountsOfReversal(command)
    default:
      return [command.account]
  }
}

/** The first of `accountsOf`: the node that owns it decides the command. */
export const firstAccountOf = (command: Command): AccountId => {
  switch (command._tag) {
    case "Transfer":
      return command.from
    case "Reverse":
      return accountsOfReversal(command)[0] as AccountId // resolved before anything asks; then it has a leg
    case "PostJournal":
    case "Group":
      return accountsOf(command)[0] as AccountId // the schema asks for a leg on an account, and for a command
    default:
      return command.account
  }
}

const member = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined

/**
 * The first account of what may become a command, before it is checked: a full node refuses without the price of a check.
 * Undefined where none is named; any text counts.
 */
export const firstAccountOfInput = (input: unknown): AccountId | undefined => {
  const named =
    member(input, "from") ?? member(input, "account") ?? member(member(member(input, "legs"), "0"), "account")
  return typeof named === "string" ? (named as AccountId) : undefined // the schema has not seen it yet
}

/** The command id of what may become a command, before it is checked. */
export const commandIdOfInput = (input: unknown): unknown => member(input, "commandId")
