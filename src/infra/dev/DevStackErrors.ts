/** Why the development stack did not start; each error says what to do about it. */
import { Data } from "effect"

/** A program the stack needs is neither on this machine nor to be had here. */
export class ProgramMissing extends Data.TaggedError("ProgramMissing")<{
  readonly program: string
  readonly advice: string
}> {
  override get message() {
    return `${this.program} was not found. ${this.advice}`
  }
}

/** The caller asked for a port on which another process listens. */
export class PortInUse extends Data.TaggedError("PortInUse")<{
  readonly service: string
  readonly port: number
}> {
  override get message() {
    return `port ${this.port} for ${this.service} is taken on 127.0.0.1: free it, name another, or let one be chosen`
  }
}

/** A service ended, or did not answer in time; `log` is the end of what it wrote. */
export class ServiceFailed extends Data.TaggedError("ServiceFailed")<{
  readonly service: string
  readonly reason: string
  readonly logFile: string
  readonly log: string
}> {
  override get message() {
    const log = this.log === "" ? "" : `\n${this.log}`
    return `${this.service} ${this.reason}; its log is ${this.logFile}${log}`
  }
}

/** Another process works on this data directory. */
export class DataDirectoryInUse extends Data.TaggedError("DataDirectoryInUse")<{
  readonly dataDir: string
}> {
  override get message() {
    return `${this.dataDir} is in use by another process of the ledger: end that one, or name another data directory`
  }
}

/** A newer release wrote this data directory; it is left as it is. */
export class DataDirectoryNewer extends Data.TaggedError("DataDirectoryNewer")<{
  readonly dataDir: string
  readonly found: number
  readonly supported: number
}> {
  override get message() {
    return `${this.dataDir} has layout ${this.found}, this release knows up to ${this.supported}: use a newer release, or another data directory`
  }
}

/** The data directory cannot be made, read or written, or is not one of ours. */
export class DataDirectoryUnusable extends Data.TaggedError("DataDirectoryUnusable")<{
  readonly dataDir: string
  readonly reason: string
}> {
  override get message() {
    return `${this.dataDir} cannot be used as a data directory: ${this.reason}`
  }
}

export type DevStackError =
  | ProgramMissing
  | PortInUse
  | ServiceFailed
  | DataDirectoryInUse
  | DataDirectoryNewer
  | DataDirectoryUnusable
