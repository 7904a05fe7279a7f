/** What an id may be made of, without effect, so that the console tells ids from other texts as the ledger does. */

export const accountIdPattern = /^[A-Za-z0-9_:-]{1,64}$/u

/** The reserved prefix of contra accounts, where money enters and leaves the books. */
export const externalPrefix = "external:"

export const commandIdPattern = /^[A-Za-z0-9_:./@=+-]{1,128}$/u

/** Of a command or a transfer: chosen by a client, or the ledger's own of a reversal, of the notice of an expiry, or of a transfer in a group. */
export const anyCommandIdPattern =
  /^(?:~(?:r[1-9]\d{0,8}|x~[A-Za-z0-9_:-]{1,64})~)?[A-Za-z0-9_:./@=+-]{1,128}(?:~(?:0|[1-9]\d{0,2}))?$/u

/** Characters of the longest text of that pattern: `~x~`, an account, `~`, a client's id and the place of a transfer. */
export const anyCommandIdLengthMax = 3 + 64 + 1 + 128 + 4
