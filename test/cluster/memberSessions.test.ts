/** Which members are gone, by the sessions that each has at the database of the locks. */
import { assert, describe, it } from "@effect/vitest"
import { MemberSessions, type Sessions, sessionName } from "../../src/infra/cluster/MemberSessions.ts"

const [own, other] = ["127.0.0.1:1", "127.0.0.1:2"]
const lookMs = 200

/** Looks that this node has made for long enough to judge others. */
const start = () => {
  const sessions = new MemberSessions({ absentMs: 500, silentMs: 4_000, steadyMs: 3_000, forgetMs: 16_000 })
  let nowMs = 0
  const seen = (member: string | undefined, silentMs = 0, life = "1"): Sessions => ({
    name: sessionName(member, life),
    locks: 1,
    silentMs
  })
  const look = (...all: ReadonlyArray<Sessions>) => {
    nowMs += lookMs
    return sessions.looked(all, nowMs)
  }
  const lookFor = (ms: number, ...all: ReadonlyArray<Sessions>) => {
    for (let past = 0; past < ms; past += lookMs) look(...all)
  }
  return {
    seen,
    look,
    lookFor,
    failed: () => sessions.failed(),
    standStill: (ms: number) => {
      nowMs += ms
    },
    isGone: () => sessions.isGone(other, nowMs)
  }
}

describe("members of the cluster", () => {
  it("are gone half a second after the last of their sessions", () => {
    const { seen, look, lookFor, isGone } = start()
    lookFor(3_600, seen(own), seen(other))
    assert.isFalse(isGone())
    look(seen(own))
    look(seen(own))
    assert.isFalse(isGone(), "it may be connecting again")
    lookFor(400, seen(own))
    assert.isTrue(isGone())
    look(seen(own), seen(other, 0, "2"))
    assert.isFalse(isGone(), "started again")
  })

  it("of a program that does not name its sessions so are never gone", () => {
    const { seen, lookFor, isGone } = start()
    const former = { name: "chronicle cluster 3kq0x2l1", locks: 1, silentMs: 60_000 }
    lookFor(5_000, seen(own), former)
    assert.isFalse(isGone())
    lookFor(5_000, seen(own))
    assert.isFalse(isGone())
  })

  it("are judged by nobody who could not look for a while, as after a restart of the database", () => {
    const { seen, lookFor, failed, isGone } = start()
    lookFor(3_600, seen(own), seen(other))
    failed()
    lookFor(2_800, seen(own))
    assert.isFalse(isGone())
    lookFor(400, seen(own))
    assert.isTrue(isGone())
  })

  it("are judged by nobody who stood still meanwhile", () => {
    const { seen, look, lookFor, standStill, isGone } = start()
    lookFor(3_600, seen(own), seen(other))
    lookFor(200, seen(own))
    standStill(5_000)
    assert.isFalse(isGone())
    assert.deepStrictEqual(look(seen(own), seen(other, 5_000)), [])
    lookFor(400, seen(own))
    assert.isFalse(isGone())
  })

  it("that are gone stay so while looks fail, until they have a session again", () => {
    const { seen, look, lookFor, failed, standStill, isGone } = start()
    lookFor(3_600, seen(own), seen(other))
    lookFor(800, seen(own))
    assert.isTrue(isGone())
    failed()
    assert.isTrue(isGone())
    look(seen(own))
    assert.isTrue(isGone())
    standStill(1_500)
    assert.isTrue(isGone())
    failed()
    look(seen(own), seen(other, 0, "2"))
    assert.isFalse(isGone(), "started again")
    lookFor(2_000, seen(own))
    assert.isFalse(isGone(), "this node has not looked for long enough")
  })

  it("that are gone are left to their last sign of life in the end, also where nobody can look", () => {
    const { seen, lookFor, failed, standStill, isGone } = start()
    lookFor(3_600, seen(own), seen(other))
    lookFor(800, seen(own))
    failed()
    standStill(15_000)
    assert.isTrue(isGone())
    standStill(1_000)
    assert.isFalse(isGone())
  })

  it("are left to their last sign of life in the end", () => {
    const { seen, lookFor, isGone } = start()
    lookFor(3_600, seen(own), seen(other))
    lookFor(16_000, seen(own))
    assert.isTrue(isGone())
    lookFor(1_000, seen(own))
    assert.isFalse(isGone(), "it may be a program of before that came back at its address")
  })

  it("that asked nothing for four seconds are to have their sessions ended", () => {
    const { seen, look, lookFor } = start()
    lookFor(3_600, seen(own), seen(other))
    assert.deepStrictEqual(look(seen(own), seen(other, 3_900)), [])
    assert.deepStrictEqual(look(seen(own), seen(other, 4_100)), [sessionName(other, "1")])
    assert.deepStrictEqual(look(seen(own), seen(undefined, 60_000)), [], "one that only asks")
  })
})
