/** The contract of the event store on PostgreSQL, with broken connections, and the law that memory is the same. */
import { inject } from "@effect/vitest"
import { eventStoreContract } from "./eventStoreContract.ts"
import { eventStoreFaults } from "./eventStoreFaults.ts"
import { eventStoreLaw } from "./eventStoreLaw.ts"
import { twoClients } from "./twoClients.ts"

const url = inject("postgresUrl")

eventStoreContract("PostgreSQL", twoClients(url))
eventStoreFaults("PostgreSQL", url)
eventStoreLaw("PostgreSQL", url, 25)
