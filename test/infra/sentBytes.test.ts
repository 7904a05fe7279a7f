/** How the kernel's table of connections names the ends of one. */
import { assert, it } from "@effect/vitest"
import { printEnd } from "../../src/infra/cluster/SocketTimeouts.ts"

it.each([
  ["127.0.0.1", 2024, "LE", "0100007F:07E8"],
  ["127.0.0.1", 2024, "BE", "7F000001:07E8"],
  ["::1", 80, "LE", "00000000000000000000000001000000:0050"],
  ["::", 80, "LE", "00000000000000000000000000000000:0050"],
  ["::ffff:10.1.2.3", 65_535, "LE", "0000000000000000FFFF00000302010A:FFFF"],
  ["2001:db8::a:b", 443, "LE", "B80D012000000000000000000B000A00:01BB"],
  ["2001:db8:1:2:3:4:5:6", 443, "BE", "20010DB8000100020003000400050006:01BB"],
  ["fe80::1%eth0", 1, "LE", "000080FE000000000000000001000000:0001"]
] as const)("%s, port %d, of a machine with %s", (address, port, order, text) => {
  assert.strictEqual(printEnd(address, port, order), text)
})
