// Makes LLM API calls with an official Node SDK and prints one JSON line for each.
//
//   node calls.mjs [openai|anthropic messages|chat|responses] [--stream] [--include-usage]
//     [--calls N] [--connections N] [--model M] [--plan WORDS] [--session ID] [--hang-up N]
//     [--hold]
//
// Without a client it makes one call of every kind, to a model of its API. The endpoint is $BPFTOK_ENDPOINT; its
// authority is $NODE_EXTRA_CA_CERTS. The SDKs are taken from the folder $BPFTOK_NODE_MODULES; from
// the one beside this file if not set.

import { createRequire } from "node:module";
import { once } from "node:events";
import { parseArgs } from "node:util";
import process from "node:process";

const { values: args, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    stream: { type: "boolean", default: false },
    "include-usage": { type: "boolean", default: false },
    calls: { type: "string", default: "1" },
    connections: { type: "string", default: "1" },
    model: { type: "string", default: "test-model" },
    plan: { type: "string", default: "" },
    prompt: { type: "string", default: "How many tokens is a naïve café? 漢字" },
    session: { type: "string" },
    "hang-up": { type: "string" },
    hold: { type: "boolean", default: false },
  },
});

const modules = process.env.BPFTOK_NODE_MODULES;
const require = createRequire(modules ? `${modules}/` : import.meta.url);
const endpoint = process.env.BPFTOK_ENDPOINT;
const base = args.plan ? `${endpoint}/plan/${args.plan}` : endpoint;
const defaultHeaders = args.session ? { "x-session-id": args.session } : {};

const kinds = [
  ["openai", "chat", "gpt-5-mini"],
  ["openai", "responses", "gpt-5"],
  ["anthropic", "messages", "claude-sonnet"],
];

function make(client) {
  const options = { apiKey: "sk-test-canary", maxRetries: 0, defaultHeaders };
  if (client === "anthropic") {
    const { Anthropic } = require("@anthropic-ai/sdk");
    return new Anthropic({ ...options, baseURL: base });
  }
  const { OpenAI } = require("openai");
  return new OpenAI({ ...options, baseURL: `${base}/v1` });
}

function create(sdk, api, stream) {
  const { model, prompt } = args;
  const messages = [{ role: "user", content: prompt }];
  if (api === "messages") return sdk.messages.create({ model, max_tokens: 1024, messages, stream });
  if (api === "responses") return sdk.responses.create({ model, input: prompt, stream });
  const options = stream && args["include-usage"] ? { stream_options: { include_usage: true } } : {};
  return sdk.chat.completions.create({ model, messages, stream, ...options });
}

function take(seen, event) {
  seen.events += 1;
  const holder = event.message ?? event.response ?? event;
  if (/^(msg_|chatcmpl-|resp_)/.test(holder.id ?? "")) seen.id = holder.id;
  for (const [key, value] of Object.entries(holder.usage ?? {})) {
    if (Number.isInteger(value)) seen.usage[key] = value;
  }
}

async function connection(client, api, stream) {
  const sdk = make(client);
  for (let call = 0; call < Number(args.calls); call += 1) {
    const seen = { pid: process.pid, id: null, events: 0, usage: {} };
    try {
      const reply = await create(sdk, api, stream);
      if (stream) {
        for await (const event of reply) {
          take(seen, event);
          if (String(seen.events) === args["hang-up"]) break;
        }
      } else {
        take(seen, reply);
      }
    } catch (error) {
      seen.error = error.constructor.name;
    }
    console.log(JSON.stringify(seen));
  }
}

if (args.hold) {
  console.log("holding");
  await once(process.stdin, "data");
  process.stdin.destroy();
}
if (positionals.length > 0) {
  const [client, api] = positionals;
  const one = () => connection(client, api, args.stream);
  await Promise.all(Array.from({ length: Number(args.connections) }, one));
} else {
  for (const [client, api, model] of kinds) {
    args.model = model;
    for (const stream of [false, true]) await connection(client, api, stream);
  }
}
