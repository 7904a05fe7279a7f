/**
 * Text that others wrote (descriptions, owners, ids, reasons, lines of a file), made fit to be printed. Raw, a carriage
 * return would forge a row of a table, a line break a line of the log, an escape sequence would colour or move the
 * terminal, and a direction mark would show digits in another order.
 */

/**
 * Controls, line and paragraph separators, lone surrogates, and format characters such as direction marks. Not the two
 * joiners, which emoji and some scripts are written with and which move nothing.
 */
const hidden = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu

const names: ReadonlyMap<string, string> = new Map([
  ["\t", "\\t"],
  ["\n", "\\n"],
  ["\r", "\\r"]
])

/** One line in which every control, escape and direction character is visible: `\n`, `\x1b`, `\u{202e}`. */
export const printable = (text: string): string =>
  text.replaceAll(hidden, (char) => {
    const code = char.codePointAt(0) ?? 0
    const hex = code.toString(16)
    return names.get(char) ?? (code < 0x100 ? `\\x${hex.padStart(2, "0")}` : `\\u{${hex}}`)
  })

/** A JSON text of the same value in which those characters are escaped, as JSON itself escapes only some of them. */
export const printableJson = (json: string): string =>
  json.replaceAll(hidden, (char) =>
    Array.from({ length: char.length }, (_, index) => {
      const unit = char.charCodeAt(index)
      return `\\u${unit.toString(16).padStart(4, "0")}`
    }).join("")
  )
