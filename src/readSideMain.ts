/**
 * The thread of the read side: what `LedgerNode` starts beside the thread of the commands. It gives way first, and loads its modules then:
 * a thread that starts anew under load takes processor time, which commands would wait for.
 */
import { workerData } from "node:worker_threads"
import { giveWay } from "./actors/thread/ThreadPriority.ts"
import type { ReadSideData } from "./ReadSideData.ts"

const { readSide }: ReadSideData = workerData // of `LedgerNode`

giveWay(readSide.readSideNiceness)
void import("./readSideLife.ts")
