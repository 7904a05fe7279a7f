/** Routes a command: it is decided on this node, or sent to the node that owns its first account. */
import { Context, Effect, Layer, type Result, Schedule } from "effect"
import { type Command, firstAccountOf } from "../../domain/Command.ts"
import type { CommandError, Unavailable } from "../../domain/Errors.ts"
import type { AccountId } from "../../domain/Ids.ts"
import type { Receipt } from "../../domain/Receipt.ts"
import { ClusterConfig } from "../../infra/config/ClusterConfig.ts"
import { LedgerConfig } from "../../infra/config/LedgerConfig.ts"
import { type NotMine, Placement, type ToldHead } from "../accounts/Placement.ts"
import { makeBatchDispatch } from "./BatchDispatch.ts"
import { CommandExecutor, host, type Sender } from "./CommandExecutor.ts"
import { Forwarding, moving } from "./Forwarding.ts"
import { LocalNode } from "./LocalNode.ts"
import { isReversal, makeReversalDispatch } from "./ReversalDispatch.ts"

export class CommandRouter extends Context.Service<
  CommandRouter,
  {
    readonly dispatch: (command: Command) => Effect.Effect<Receipt, CommandError>
    readonly dispatchMany: (
      commands: ReadonlyArray<Command>
    ) => Effect.Effect<ReadonlyArray<Result.Result<Receipt, CommandError>>>
    readonly head: (account: AccountId) => Effect.Effect<ToldHead, Unavailable>
  }
>()("chronicle/actors/CommandRouter") {
  static readonly layer = Layer.effect(
    CommandRouter,
    Effect.suspend(() => make)
  )
}

const make = Effect.gen(function* () {
  const placement = yield* Placement
  const limits = yield* LedgerConfig
  const cluster = yield* ClusterConfig
  const executor = yield* CommandExecutor
  const localNode = yield* LocalNode
  const { forward } = yield* Forwarding
  // A reversal is decided where it came in: what it is about was read from the log there, and its accounts are leased.
  const isOurs = (command: Command) => isReversal(command) || placement.owns(firstAccountOf(command))

  const forwardOne = (command: Command): Effect.Effect<Receipt, CommandError> =>
    Effect.flatMap(forward(firstAccountOf(command), [command]), ([outcome]) =>
      outcome === undefined ? Effect.die("a command has no outcome") : Effect.fromResult(outcome)
    )

  const submit = (
    command: Command,
    sender: Sender,
    deadline?: number
  ): Effect.Effect<Receipt, CommandError> =>
    Effect.callback<Receipt, CommandError>((resume) => {
      if (isOurs(command)) executor.submit(command, resume, sender, deadline)
      else resume(forwardOne(command))
    })

  const reversals = yield* makeReversalDispatch(submit)

  const dispatch = (command: Command): Effect.Effect<Receipt, CommandError> =>
    isReversal(command) ? reversals.dispatch(command, host) : submit(command, host)

  const head = (account: AccountId): Effect.Effect<ToldHead, Unavailable> =>
    Effect.suspend(() =>
      placement.owns(account) ? localNode.headOf(account) : placement.head(account)
    ).pipe(
      Effect.retry({
        while: (error: NotMine | Unavailable) => error._tag === "NotMine",
        schedule: Schedule.spaced(cluster.retryMs)
      }),
      Effect.catchTag("NotMine", () => Effect.fail(moving(account))),
      Effect.timeoutOrElse({ duration: limits.queryDeadlineMs, orElse: () => Effect.fail(moving(account)) })
    )

  return CommandRouter.of({ dispatch, dispatchMany: yield* makeBatchDispatch(reversals), head })
})
