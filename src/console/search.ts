/** What a text that was searched may be: an id, or the beginning of one. */

const accountId = /^[A-Za-z0-9_:-]{1,64}$/
/** One that a client chose, or one that the ledger made of it: of its n-th reversal, or of a transfer in a group. */
const commandId = /^(?:~r[1-9]\d{0,8}~)?[A-Za-z0-9_:./@=+-]{1,128}(?:~(?:0|[1-9]\d{0,2}))?$/

interface Candidates {
  readonly account: string | undefined
  readonly contra: string | undefined
  /** Also of a hold, whose id is that of the command that placed it. */
  readonly command: string | undefined
  readonly prefix: string | undefined
}

export const candidatesOf = (text: string): Candidates => {
  const isContra = text.startsWith("external:")
  const isAccount = accountId.test(text) && !isContra
  return {
    account: isAccount ? text : undefined,
    contra: isContra && accountId.test(text) ? text : undefined,
    command: commandId.test(text) ? text : undefined,
    prefix: isAccount ? text : undefined
  }
}
