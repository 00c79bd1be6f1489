// Makes LLM API calls with an official Node SDK at its built-in host, and prints one JSON line for
// each.
//
//   node sdks.mjs SDK
//
// The authority of the hosts is $NODE_EXTRA_CA_CERTS, and the SDKs lie in the folder node_modules
// beside this file. A line has the name of the call, and the sum of tokens that the SDK shows, as the
// provider counts them.

import process from "node:process";

const PROMPT = "How many tokens is a naïve café? 漢字";
const KEY = "sk-test-canary";
const messages = [{ role: "user", content: PROMPT }];

// Reads a stream to its end; gives what `usage` finds in the last event that has any.
async function streamTotal(events, usage) {
  let total = null;
  for await (const event of events) total = usage(event) ?? total;
  return total;
}

const totalTokens = (reply) => reply?.usage?.total_tokens;

async function* openai() {
  const { OpenAI } = await import("openai");
  const client = new OpenAI({ apiKey: KEY, maxRetries: 0 });
  const chat = { model: "gpt-5-mini", messages };
  const { completions } = client.chat;
  yield ["chat", totalTokens(await completions.create({ ...chat, service_tier: "flex" }))];
  const stream_options = { include_usage: true };
  const chunks = await completions.create({ ...chat, stream: true, stream_options });
  yield ["chat stream", await streamTotal(chunks, totalTokens)];
  const respond = { model: "gpt-5", input: PROMPT };
  const reply = await client.responses.create({ ...respond, service_tier: "priority" });
  yield ["responses", totalTokens(reply)];
  const events = await client.responses.create({ ...respond, stream: true });
  yield ["responses stream", await streamTotal(events, (event) => totalTokens(event.response))];
  const model = "text-embedding-3-small";
  const embeddings = await client.embeddings.create({ model, input: [PROMPT, "two"] });
  yield ["embeddings", totalTokens(embeddings)];
}

// The provider counts four classes apart, and has no total.
const anthropicTotal = (usage) =>
  usage.input_tokens +
  usage.cache_read_input_tokens +
  usage.cache_creation_input_tokens +
  usage.output_tokens;

async function* anthropic() {
  const { Anthropic } = await import("@anthropic-ai/sdk");
  const client = new Anthropic({ apiKey: KEY, maxRetries: 0 });
  const call = { model: "claude-sonnet-4-6", max_tokens: 1024, messages };
  const reply = await client.messages.create({ ...call, service_tier: "auto" });
  yield ["messages", anthropicTotal(reply.usage)];
  const message = await client.messages.stream(call).finalMessage();
  yield ["messages stream", anthropicTotal(message.usage)];
}

async function* google() {
  const { GoogleGenAI } = await import("@google/genai");
  const { models } = new GoogleGenAI({ apiKey: KEY });
  const call = { model: "gemini-2.5-pro", contents: PROMPT };
  const total = (reply) => reply.usageMetadata?.totalTokenCount;
  yield ["generate", total(await models.generateContent({ ...call, config: { serviceTier: "flex" } }))];
  yield ["generate stream", await streamTotal(await models.generateContentStream(call), total)];
}

// One model by the AI SDK, at once and in a stream.
async function* ai(name, model) {
  const { generateText, streamText } = await import("ai");
  const call = { model, prompt: PROMPT, maxRetries: 0 };
  const total = (usage) => usage.inputTokens + usage.outputTokens;
  yield [name, total((await generateText(call)).usage)];
  const result = streamText(call);
  for await (const _ of result.textStream);
  yield [`${name} stream`, total(await result.totalUsage)];
}

async function* aiProviders() {
  const { createOpenAI } = await import("@ai-sdk/openai");
  const openai = createOpenAI({ apiKey: KEY });
  yield* ai("openai chat", openai.chat("gpt-5-mini"));
  yield* ai("openai responses", openai("gpt-5"));
  const { createAnthropic } = await import("@ai-sdk/anthropic");
  yield* ai("anthropic", createAnthropic({ apiKey: KEY })("claude-sonnet-4-6"));
  const { createGoogleGenerativeAI } = await import("@ai-sdk/google");
  yield* ai("google", createGoogleGenerativeAI({ apiKey: KEY })("gemini-2.5-pro"));
}

async function* gateway() {
  const { createGateway } = await import("@ai-sdk/gateway");
  yield* ai("gateway", createGateway({ apiKey: KEY })("openai/gpt-5-mini"));
}

const sdks = { openai, anthropic, google, ai: aiProviders, gateway };
for await (const [call, total] of sdks[process.argv[2]]()) {
  console.log(JSON.stringify({ call, total: total ?? null }));
}
