/** The failures of a command that decide about its exit code, or are printed in more than one line. */
import { type Config, Data, Predicate } from "effect"
import { CliError } from "effect/cli"

/** Neither the environment nor an option says where the services are: wrong usage. */
export class ServicesUnknown extends Data.TaggedError("ServicesUnknown")<{ readonly reason: string }> {
  override get message() {
    return this.reason
  }
}

/** Options that are right one by one and mean nothing together: wrong usage. */
export class OptionsInvalid extends Data.TaggedError("OptionsInvalid")<{ readonly reason: string }> {
  override get message() {
    return this.reason
  }
}

/** An invariant does not hold, or `--strict` was given and lines of the day were refused or at fault. */
export class DemoFailed extends Data.TaggedError("DemoFailed")<{ readonly findings: ReadonlyArray<string> }> {
  override get message() {
    return this.findings.join("; ")
  }
}

/** An invariant was broken under the load, or nothing was committed. */
export class LoadTestFailed extends Data.TaggedError("LoadTestFailed")<{
  readonly findings: ReadonlyArray<string>
}> {
  override get message() {
    return this.findings.join("; ")
  }
}

/** `SchemaError(Expected … at ["NAME"])`, as a person reads it. */
export const describeConfigError = ({ message }: Config.ConfigError): string => {
  const [, fault = "", variable] =
    /SchemaError\(([\s\S]*)\n\s+at \["(\w+)"\](?:\[\d+\])?\)/.exec(message) ?? []
  return variable === undefined ? message : `${variable}: ${fault.charAt(0).toLowerCase()}${fault.slice(1)}`
}

/** What the user can only mend by calling the command, or setting the environment, in another way. */
const usageTags: ReadonlySet<unknown> = new Set([
  "ServicesUnknown",
  "OptionsInvalid",
  "ConfigError",
  // Of the parts that only the commands that need them load.
  "ClusterSecurityInvalid",
  "LedgerUrlInvalid",
  "ProjectionUnknown",
  "ServerSettingsInvalid"
])

/** Whether a failure means wrong usage, which has an exit code of its own. */
export const isUsageFailure = (error: unknown): boolean =>
  CliError.isCliError(error) || (Predicate.hasProperty(error, "_tag") && usageTags.has(error._tag))
