/**
 * The ledger as host code sees it: commands are answered with receipts, queries with views. The same service is provided by
 * a node in this process (`LedgerNode`) and by a client of nodes elsewhere (`LedgerClient`), which loads nothing of a node.
 */
import { Context, type Effect, type Result } from "effect"
import type { GroupMemberInput, GroupOptions } from "./CommandMethods.ts"
import type { CommandInput } from "./domain/Command.ts"
import type { CommandError, InvalidCommand } from "./domain/Errors.ts"
import type { Receipt } from "./domain/Receipt.ts"
import type { QueryMethods } from "./QueryMethods.ts"

interface LedgerService extends QueryMethods {
  /**
   * Answers once the events are durable. Safe to send again with the same `commandId`, whatever came of it: an
   * accepted command answers its first outcome, marked as replayed.
   */
  readonly dispatch: (command: CommandInput) => Effect.Effect<Receipt, CommandError>
  /**
   * An ordered batch: on every account in the given order; one result a command, in the same order. Fails as a whole
   * only where it is given no list.
   */
  readonly dispatchMany: (
    commands: ReadonlyArray<CommandInput>
  ) => Effect.Effect<ReadonlyArray<Result.Result<Receipt, CommandError>>, InvalidCommand>
  /**
   * A group: all of the commands or none, as one transaction with one id, each decided on what those before it leave.
   * `GroupRejected` names the command that was refused.
   */
  readonly dispatchAll: (
    commands: ReadonlyArray<GroupMemberInput>,
    options?: GroupOptions
  ) => Effect.Effect<Receipt, CommandError>
}

export class Ledger extends Context.Service<Ledger, LedgerService>()("chronicle/Ledger") {}
