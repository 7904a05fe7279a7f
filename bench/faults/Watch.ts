/** What `/ready` and `/metrics` of a node tell, asked over and over: at the same intervals in troubles and in undisturbed times, since it costs the node as well. */
import { Effect, Schedule } from "effect"

const askMs = 100

interface Answers {
  readonly isReady: boolean
  readonly ready: string
  readonly metrics: string
}

/** Whether they tell of a trouble. */
export interface Signs {
  readonly ready: (answers: Answers) => boolean
  readonly metrics: (answers: Answers) => boolean
}

const none: Answers = { isReady: true, ready: "", metrics: "" }

const ask = (port: number, path: string) =>
  fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(5_000) }).then((response) =>
    response.text().then((body) => ({ isReady: response.status === 200, body }))
  )

export const answersOf = (port: number): Effect.Effect<Answers> =>
  Effect.promise(() =>
    Promise.all([ask(port, "/ready"), ask(port, "/metrics")]).then(([ready, metrics]) => ({
      isReady: ready.isReady,
      ready: ready.body,
      metrics: metrics.body
    }))
  )

/** Asks in the scope; `until` completes with the first answers that pass, and dies after so many seconds without. */
export const watchAnswers = Effect.fnUntraced(function* (port: number) {
  let last = none
  const look = Effect.map(answersOf(port), (answers) => {
    last = answers
  })
  yield* Effect.forkScoped(Effect.repeat(look, Schedule.spaced(askMs)))
  return {
    until: (what: string, seconds: number, passes: (answers: Answers) => boolean) =>
      Effect.suspend(() => Effect.succeed(passes(last))).pipe(
        Effect.repeat({ schedule: Schedule.spaced(10), until: (is) => is }),
        Effect.timeoutOrElse({
          duration: seconds * 1_000,
          orElse: () => Effect.die(new Error(`waited ${seconds} s in vain until ${what}`))
        }),
        Effect.asVoid
      )
  }
})
