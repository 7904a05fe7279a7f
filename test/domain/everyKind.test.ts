/**
 * Random sequences of every kind of command, those of a simulated world: what is accepted stands in the log as it was decided and is
 * audited as sound, no reversal gives back more than was moved, and a refusal says after the wire what it said before.
 */
import { assert, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { faultOfLeg, type Reading } from "../../src/actors/audit/AuditLegs.ts"
import { afterOf, evolve } from "../../src/domain/Account.ts"
import { contrasOf, post } from "../../src/domain/Books.ts"
import { type Command, type CommandInput, fromHost } from "../../src/domain/Command.ts"
import { type Decision, decide } from "../../src/domain/Decide.ts"
import { CommandError } from "../../src/domain/Errors.ts"
import { amountOf, type Event } from "../../src/domain/Event.ts"
import { hashCommand, link } from "../../src/domain/HashChain.ts"
import { emptyHead, type Head } from "../../src/domain/Head.ts"
import type { AccountId } from "../../src/domain/Ids.ts"
import type { Asset } from "../../src/domain/Money.ts"
import { movedBy, originalOf } from "../../src/domain/MovedByOriginal.ts"
import { type Original, type ResolvedReverse, reversalIdOf } from "../../src/domain/Original.ts"
import { encodePayload, type StoredEvent, schemaVersionOf } from "../../src/domain/StoredEvent.ts"
import { decode, toRow } from "../../src/infra/eventstore/SnapshotRows.ts"
import { accountName, assetOf, drawCommand, openAccount, type WorldCommand } from "../simulator/Commands.ts"
import { Rng } from "../support/Rng.ts"

interface Landed {
  readonly account: AccountId
  readonly event: Event
  readonly row: StoredEvent
}

const accountsMax = 8

class Log {
  now = 1_767_225_600_000
  readonly heads = new Map<AccountId, Head>()
  /** What each accepted command wrote, by its id. */
  readonly accepted = new Map<string, ReadonlyArray<Landed>>()

  readonly headOf = (id: AccountId): Head => this.heads.get(id) ?? emptyHead(id)

  /** Undefined where the command was accepted before, or reverses what cannot be reversed. */
  decide(input: CommandInput): { readonly command: Command; readonly decision: Decision } | undefined {
    const command = this.#resolved(Result.getOrThrow(fromHost(input)))
    if (command === undefined || this.accepted.has(command.commandId)) return undefined
    return { command, decision: decide(command, (id) => this.headOf(id).account, this.now) }
  }

  #resolved(command: Command): Command | undefined {
    if (command._tag !== "Reverse") return command
    const { original, n = 1 } = command
    const moved = movedBy(original, this.accepted.get(original) ?? [], assets)
    if (Result.isFailure(moved)) return undefined
    const reversals: Array<Event> = []
    for (let nth = 1; ; nth++) {
      const first = this.accepted.get(reversalIdOf(original, nth))?.[0]
      if (first === undefined) break
      reversals.push(first.event)
    }
    const found = originalOf(moved.success, reversals, n)
    return { ...command, commandId: reversalIdOf(original, n), found } as ResolvedReverse // that type is a command with what is found
  }

  /** Writes what was decided; each row is read as every reader of the log reads it. */
  land(command: Command, decision: Result.Result.Success<Decision>): ReadonlyArray<Landed> {
    const landed = decision.map(({ account, event }, ordinal): Landed => {
      const before = this.headOf(account)
      const state = evolve(before.account, event, this.now)
      const unlinked = {
        accountId: account,
        version: state.version,
        type: event._tag,
        schemaVersion: schemaVersionOf(event._tag),
        payload: encodePayload(event, afterOf(state)).stored,
        commandId: command.commandId,
        ordinal,
        commandHash: ordinal === 0 ? hashCommand(command) : null,
        recordedAt: this.now,
        effectiveAt: null,
        context: null
      }
      const row = { ...unlinked, hash: link(before.hash, unlinked) }
      const head: Head = { account: state, hash: row.hash, recordedAt: this.now }
      const posted = Result.getOrThrow(post(before, row))
      assert.deepEqual(posted.event, event)
      assert.deepEqual<unknown>(posted.head, head)
      assert.deepEqual(decode(toRow(head)), head, "the snapshot")
      this.heads.set(account, head)
      return { account, event, row }
    })
    this.accepted.set(command.commandId, landed)
    return landed
  }
}

const assets = new Map(
  Array.from({ length: accountsMax }, (_, nth) => accountName(nth) as AccountId).map((id) => [
    id,
    assetOf(id) as Asset // those of the world are ids and assets
  ])
)

const assertSound = (landed: ReadonlyArray<Landed>): void => {
  const find = (key: { readonly account: string; readonly version: number }): Reading | undefined =>
    landed.find(({ row }) => row.accountId === key.account && row.version === key.version)
  for (const { event, row } of landed)
    assert.isUndefined(
      faultOfLeg({ event, row }, find, (id) => assets.get(id)),
      row.payload
    )
  const sums = new Map<Asset, bigint>()
  for (const { account, event } of landed) {
    const asset = assets.get(account) ?? assert.fail(account)
    for (const entry of [{ asset, amount: amountOf(event) }, ...contrasOf(event, asset)])
      sums.set(entry.asset, (sums.get(entry.asset) ?? 0n) + entry.amount)
  }
  for (const sum of sums.values()) assert.strictEqual(sum, 0n)
}

/** Each leg gives back its share and no more than is left; what it cannot give is paid by the shortfall account. */
const assertGivenBack = ({ legs }: Original, landed: ReadonlyArray<Landed>): void => {
  let lacking = 0n
  const changes = new Map<AccountId, bigint>()
  for (const { account, event } of landed) {
    const isShortfall = "reverses" in event && event.reverses?.isShortfall === true
    if (isShortfall) lacking += amountOf(event)
    else changes.set(account, (changes.get(account) ?? 0n) + amountOf(event))
  }
  const [first] = landed
  const gave = (first !== undefined && "reverses" in first.event && first.event.reverses?.gave) || []
  for (const { account, asset, net, reversed } of legs) {
    const share = gave.find((one) => one.account === account && (one.asset ?? asset) === asset)?.amount ?? 0n
    assert.isTrue(share <= (net < 0n ? -net : net) - reversed, account)
    if (!assets.has(account as AccountId)) continue // a contra account has no events
    const change = changes.get(account as AccountId) ?? 0n
    if (net < 0n) assert.strictEqual(change, share, account)
    else lacking += share + change
  }
  assert.strictEqual(lacking, 0n)
}

const codec = Schema.toCodecJson(CommandError)

it("every kind of command, in random sequences, is decided soundly or refused in words that survive the wire", () => {
  const seen = new Map<string, number>()
  const rng = new Rng(Number(process.env.CHRONICLE_TEST_SEED ?? 7))
  for (let run = 0; run < 20; run++) {
    const log = new Log()
    const inputs: Array<WorldCommand> = []
    const send = (input: WorldCommand): void => {
      const decided = log.decide(input)
      if (decided === undefined) return
      const { command, decision } = decided
      const outcome = Result.isSuccess(decision) ? command._tag : decision.failure._tag
      seen.set(outcome, (seen.get(outcome) ?? 0) + 1)
      if (Result.isFailure(decision)) {
        const json: unknown = JSON.parse(JSON.stringify(Schema.encodeSync(codec)(decision.failure)))
        assert.strictEqual(Schema.decodeUnknownSync(codec)(json).message, decision.failure.message)
        return
      }
      const landed = log.land(command, decision.success)
      assertSound(landed)
      if (command._tag !== "Reverse") return
      const { found } = command as ResolvedReverse // it was resolved before it was decided
      assertGivenBack(found ?? assert.fail(command.original), landed)
    }
    for (const [account] of assets) send({ ...openAccount(account, 30n), commandId: `open-${account}` })
    for (let nth = 0; nth < 200; nth++) {
      log.now += rng.below(100)
      const before = { accounts: accountsMax, inputs, isAboutMoney: run % 2 === 0 }
      const input = drawCommand(rng, `c-${nth}`, before)
      inputs.push(input)
      send(input)
    }
  }
  for (const kind of ["CaptureHold", "AdjustHold", "ReleaseHold", "Reverse", "Group", "PostJournal"])
    assert.isAbove(seen.get(kind) ?? 0, 5, kind)
  for (const tag of ["ReversalExceeds", "CaptureExceedsHold", "HoldExpired", "GroupRejected", "OpenHolds"])
    assert.isAbove(seen.get(tag) ?? 0, 0, tag)
})
