/**
 * Writes docs/limits.md, the table of every limit with its variable, default and meaning, from the schemas that read the
 * environment. A test compares the page with what this would write, so that it cannot become untrue.
 */
import { writeFileSync } from "node:fs"
import { pathToFileURL } from "node:url"
import { httpLimits } from "../src/http/server/HttpLimits.ts"
import { clusterLimits } from "../src/infra/config/ClusterConfig.ts"
import { ledgerLimits } from "../src/infra/config/LedgerConfig.ts"
import { limitsTable } from "../src/infra/config/Limits.ts"
import { readSideLimits } from "../src/infra/config/ReadSideConfig.ts"
import { webhookLimits } from "../src/infra/config/WebhookConfig.ts"
import { rpcLimits } from "../src/rpc/server/RpcLimits.ts"

export const limitsPath = "docs/limits.md"

export const limitsPage = (): string => `# Limits

Every limit of a node has a default and an environment variable, which takes a whole number of 1 or more unless its row
says otherwise. At a limit the caller gets a typed error, most often \`Overloaded\`, and memory stays flat. \`npm run limits\` writes this
page from the code.

## Write path and event store

${limitsTable(ledgerLimits)}

## Read side

${limitsTable(readSideLimits)}

## Cluster of nodes

${limitsTable(clusterLimits)}

## RPC server

\`CHRONICLE_RPC_RATE_PER_SECOND\` and \`CHRONICLE_RPC_REFUSAL_LINES_MAX\` bound RPC and HTTP together.

${limitsTable(rpcLimits)}

## HTTP server

${limitsTable(httpLimits)}

## Webhooks

${limitsTable(webhookLimits)}
`

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href)
  writeFileSync(limitsPath, limitsPage())
