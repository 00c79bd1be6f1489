// Makes LLM API calls with the runtime's own fetch and prints one JSON line for each; for every
// runtime that has one: Node, Bun.
//
//   fetch.mjs [messages|chat|responses] [--stream] [--calls N] [--model M] [--session ID]
//
// The endpoint is $BPFTOK_ENDPOINT; its authority is $NODE_EXTRA_CA_CERTS. The calls follow each
// other, on one connection if the runtime keeps it.

import { parseArgs } from "node:util";
import process from "node:process";

const { values: args, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: {
    stream: { type: "boolean", default: false },
    calls: { type: "string", default: "1" },
    model: { type: "string", default: "test-model" },
    prompt: { type: "string", default: "How many tokens is a naïve café? 漢字" },
    session: { type: "string" },
  },
});

const api = positionals[0] ?? "messages";
const paths = { messages: "/v1/messages", chat: "/v1/chat/completions", responses: "/v1/responses" };
const messages = [{ role: "user", content: args.prompt }];
const bodies = {
  messages: { max_tokens: 1024, messages },
  chat: args.stream ? { messages, stream_options: { include_usage: true } } : { messages },
  responses: { input: args.prompt },
};
const body = JSON.stringify({ model: args.model, stream: args.stream, ...bodies[api] });
const headers = { "content-type": "application/json", authorization: "Bearer sk-test-canary" };
if (args.session) headers["x-session-id"] = args.session;

for (let call = 0; call < Number(args.calls); call += 1) {
  const reply = await fetch(process.env.BPFTOK_ENDPOINT + paths[api], { method: "POST", headers, body });
  const id = /"id": ?"((?:msg|chatcmpl|resp)[-_][^"]*)"/.exec(await reply.text())?.[1];
  console.log(JSON.stringify({ pid: process.pid, id, status: reply.status }));
}
