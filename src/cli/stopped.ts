/** The exit code of a command that is told to stop by Ctrl-C or SIGTERM; a node that runs has a normal end then. */
import { Context } from "effect"

/** 130, the shell's code of an interrupted command, until the command says otherwise. */
export const Stopped = Context.Reference<{ code: number }>("chronicle/cli/Stopped", {
  defaultValue: () => ({ code: 130 })
})
