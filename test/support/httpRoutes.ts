/**
 * The routes of the HTTP API, as its own description has them, each with a request that is right but for who sends it and whose account
 * it names. It exists so that what is asked of every route is asked of a new one, too.
 */
import { LedgerHttpApi } from "../../src/http/api/LedgerHttpApi.ts"

export const routes = Object.values(LedgerHttpApi.groups).flatMap(({ endpoints }) => Object.values(endpoints))
export type Route = (typeof routes)[number]

/** A body that each route takes that has one, about accounts that no token with prefixes may name. */
const bodies: Readonly<Record<string, unknown>> = {
  sendCommand: { _tag: "Deposit", account: "other:a", amount: "1" },
  sendBatch: { _tag: "Deposit", account: "other:a", amount: "1" },
  openAccount: { account: "other:a", asset: "USD/2", owner: "Ann" },
  deposit: { amount: "1" },
  withdraw: { amount: "1" },
  transfer: { from: "shop:a", to: "other:a", amount: "1" },
  postJournal: {
    legs: [
      { account: "shop:a", side: "debit", amount: "1" },
      { account: "other:a", side: "credit", amount: "1" }
    ]
  },
  group: { commands: [{ _tag: "Deposit", account: "other:a", amount: "1" }] },
  updateAccount: { owner: "Ann" },
  placeHold: { amount: "1" },
  captureHold: {},
  adjustHold: { amount: "1" },
  releaseHold: {},
  reverse: { reason: "mistake" },
  freezeAccount: {},
  unfreezeAccount: {},
  closeAccount: {},
  createWebhook: { url: "https://shop.example", prefix: "other:" }
}

/** Routes of webhooks but for the first: they name one by its id, and take no body. */
export const isOfOneWebhook = ({ path }: Pick<Route, "path">) => path.includes(":webhook")
export const takesBody = (route: Route) => route.method === "POST" && !isOfOneWebhook(route)

export interface SentRequest {
  readonly method: string
  readonly path: string
  readonly type: string
  /** Absent where the route takes none. */
  readonly body?: string
}

/** Throws for a route that takes a body and has none in the table above. */
export const requestOf = (route: Route): SentRequest => {
  const { identifier, method, path } = route
  const body = bodies[identifier]
  if (takesBody(route) && body === undefined) throw new Error(`no body for the route ${identifier}`)
  return {
    method,
    path: path
      .replace(/:(account|prefix)\b/, "other:a")
      .replace(/:(commandId|hold|original)\b/, "c-1")
      // Made by no test.
      .replace(":webhook", "wh_none"),
    type: identifier === "sendBatch" ? "application/x-ndjson" : "application/json",
    // A query may have the name of a command.
    ...(body === undefined || !takesBody(route) ? {} : { body: JSON.stringify(body) })
  }
}
