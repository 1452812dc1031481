// check.mjs DOCUMENT: what AsyncAPI's own parser says of it, and whether every example is what its schema describes.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";
import Ajv from "ajv";
import addFormats from "ajv-formats";

const text = readFileSync(process.argv[2], "utf8");
const { document, diagnostics } = await new Parser().parse(text);
const found = { diagnostics, operations: {}, examples: {} };

// The raw document, so that references in schemas are where they were written.
const ajv = new Ajv({ strict: false, allErrors: true });
addFormats(ajv);
for (const [name, bits] of [["int64", 64n], ["uint32", 32n], ["uint64", 64n]]) {
  const min = name.startsWith("u") ? 0n : -(2n ** (bits - 1n));
  const max = name.startsWith("u") ? 2n ** bits : 2n ** (bits - 1n);
  ajv.addFormat(name, { type: "number", validate: (it) => Number.isInteger(it) && BigInt(it) >= min && BigInt(it) < max });
}
const raw = JSON.parse(text);
ajv.addSchema({ components: raw.components }, "document", undefined, false);
for (const [name, message] of Object.entries(raw.components.messages)) {
  const conforms = ajv.compile({ $ref: `document${message.payload.$ref}` });
  found.examples[name] = message.examples.map(({ payload }) => (conforms(payload) ? [] : conforms.errors));
}

for (const operation of document?.allOperations() ?? []) {
  const [channel] = operation.channels().all();
  found.operations[operation.id()] = {
    action: operation.action(),
    address: channel.address(),
    channel: channel.bindings().get("amqp").value(),
    operation: operation.bindings().get("amqp").value(),
    messages: operation.messages().all().map((message) => message.id()),
  };
}
console.log(JSON.stringify(found));
