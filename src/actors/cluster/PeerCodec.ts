/**
 * How requests and responses between nodes are written: compactly where both nodes have the same schemas, else as JSON of
 * the schema's own codec. During a rolling upgrade two programs of one protocol version may differ by an optional field:
 * JSON carries what both know, and what the older one does not know is refused instead of dropped.
 */
import { Context, Result, Schema } from "effect"
import { CommandError } from "../../domain/Errors.ts"
import { type ByteReader, type ByteWriter, compactCodec } from "../../infra/cluster/CompactCodec.ts"
import { NotMine } from "../accounts/Placement.ts"
import { PeerRequest, PeerResponse } from "./PeerMessages.ts"

/** What a message says, or that its text is not understood; throws where the bytes are of no node at all. */
type Understood<A> = Result.Result<A, "not understood">

interface MessageForm<A> {
  readonly write: (writer: ByteWriter, message: A) => void
  readonly read: (reader: ByteReader) => Understood<A>
}

export interface PeerForm {
  readonly request: MessageForm<PeerRequest>
  readonly response: MessageForm<PeerResponse>
}

const classes = [...CommandError.members, NotMine]
const compactRequest = compactCodec(PeerRequest, classes)
const compactResponse = compactCodec(PeerResponse, classes)

/** Nodes with equal ones use the compact form with each other, and say without an answer what needs none. */
export const formFingerprint = `${compactRequest.fingerprint}-${compactResponse.fingerprint}-notices`

export const compactForm: PeerForm = {
  request: {
    write: compactRequest.write,
    read: (reader) => Result.succeed(compactRequest.read(reader))
  },
  response: {
    write: compactResponse.write,
    read: (reader) => Result.succeed(compactResponse.read(reader))
  }
}

const jsonForm = <A>(schema: Schema.Codec<A, unknown>): MessageForm<A> => {
  const codec = Schema.fromJsonString(Schema.toCodecJson(schema))
  const encode = Schema.encodeSync(codec)
  // A field that only the other program knows may be what the command is about.
  const decode = Schema.decodeResult(codec, { onExcessProperty: "error" })
  return {
    write: (writer, message) => writer.text(encode(message)),
    read: (reader) => Result.mapError(decode(reader.text()), () => "not understood" as const)
  }
}

const jsonRequest = jsonForm(PeerRequest)
const jsonResponse = jsonForm(PeerResponse)

export const textForm: PeerForm = {
  request: {
    ...jsonRequest,
    // The other program may not know the field, and would refuse the commands with it.
    write: (writer, request) => {
      if (request._tag !== "Dispatch") return jsonRequest.write(writer, request)
      const { isAgain: _, ...known } = request
      jsonRequest.write(writer, known)
    }
  },
  response: {
    ...jsonResponse,
    // As above: it would refuse the answer.
    write: (writer, response) => {
      if (response._tag !== "Head") return jsonResponse.write(writer, response)
      const { at: _, ...known } = response
      jsonResponse.write(writer, known)
    }
  }
}

/** What a node says of its form; a reference, so that a test can have a node of another program. */
export const PeerFormIdentity = Context.Reference<string>("chronicle/actors/PeerFormIdentity", {
  defaultValue: () => formFingerprint
})

/** The form for messages between two nodes that told each other these fingerprints: both come to the same. */
export const formFor = (ours: string, theirs: string): PeerForm => (ours === theirs ? compactForm : textForm)
