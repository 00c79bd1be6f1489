"""Makes LLM API calls with an official SDK at its built-in host, and prints one JSON line for each.

    sdks.py SDK [--truncated] [--prompt TEXT]

The authority of the hosts is $SSL_CERT_FILE. A line has the name of the call, and the sum of tokens
that the SDK shows, as the provider counts them: null where the SDK was given none. With --truncated the
calls are those whose usage a provider keeps to itself.
"""

import argparse
import json
import os
import sys

PROMPT = "How many tokens is a naïve café? 漢字"
KEY = "sk-test-canary"
MESSAGES = []
# Has the endpoint break off after so many pieces of text.
CUT = {"x-test-plan": "echo.abort-60"}


def stream_total(events, usage):
    """Reads a stream to its end; gives what `usage` finds in the last event that has any."""
    total = None
    for event in events:
        found = usage(event)
        total = total if found is None else found
    return total


def total_tokens(reply):
    """The total of OpenAI's and of everybody's who took over its names."""
    usage = getattr(reply, "usage", None)
    return usage and int(usage.total_tokens)


def with_openai():
    import openai

    client = openai.OpenAI(api_key=KEY, max_retries=0)
    chat = client.chat.completions.create
    options = {"include_usage": True}
    yield "chat", total_tokens(chat(model="gpt-5-mini", messages=MESSAGES, service_tier="flex"))
    stream = chat(model="gpt-5-mini", messages=MESSAGES, stream=True, stream_options=options)
    yield "chat stream", stream_total(stream, total_tokens)
    respond = client.responses.create
    yield "responses", total_tokens(respond(model="gpt-5", input=PROMPT, service_tier="priority"))
    stream = respond(model="gpt-5", input=PROMPT, stream=True)
    yield (
        "responses stream",
        stream_total(stream, lambda event: total_tokens(getattr(event, "response", None))),
    )
    complete = client.completions.create
    model = "gpt-3.5-turbo-instruct"
    yield "completions", total_tokens(complete(model=model, prompt=PROMPT))
    stream = complete(model=model, prompt=PROMPT, stream=True, stream_options=options)
    yield "completions stream", stream_total(stream, total_tokens)
    embed = client.embeddings.create
    yield "embeddings", total_tokens(embed(model="text-embedding-3-small", input=[PROMPT, "two"]))


def with_openai_truncated():
    import openai

    client = openai.OpenAI(api_key=KEY, max_retries=0)
    chat = {"model": "gpt-5", "messages": MESSAGES, "stream": True}
    chat_of = client.chat.completions.create
    yield "chat stream", read(lambda: chat_of(**chat))
    yield "chat stream, cut", read(lambda: chat_of(**chat, extra_headers=CUT))
    respond = {"model": "gpt-5", "input": PROMPT, "stream": True, "extra_headers": CUT}
    yield "responses stream, cut", read(lambda: client.responses.create(**respond))


def read(start):
    """Reads a stream as far as it comes."""
    import openai

    names = ("httpx", "httpx2")
    broken = tuple(sys.modules[name].HTTPError for name in names if name in sys.modules)
    try:
        return stream_total(start(), lambda event: total_tokens(getattr(event, "response", event)))
    except (openai.APIError, *broken):
        return None


def anthropic_total(usage):
    """The provider counts four classes apart, and has no total."""
    classes = (
        usage.input_tokens,
        usage.cache_read_input_tokens,
        usage.cache_creation_input_tokens,
        usage.output_tokens,
    )
    return sum(count or 0 for count in classes)


def with_anthropic():
    import anthropic

    client = anthropic.Anthropic(api_key=KEY, max_retries=0)
    call = {"model": "claude-sonnet-4-6", "max_tokens": 1024, "messages": MESSAGES}
    yield "messages", anthropic_total(client.messages.create(**call, service_tier="auto").usage)
    with client.messages.stream(**call) as stream:
        yield "messages stream", anthropic_total(stream.get_final_message().usage)


def gemini_total(reply):
    return reply.usage_metadata and reply.usage_metadata.total_token_count


def with_google_genai():
    from google import genai

    client = genai.Client(api_key=KEY)
    call = {"model": "gemini-2.5-pro", "contents": PROMPT}
    flex = {"service_tier": "flex"}
    yield "generate", gemini_total(client.models.generate_content(**call, config=flex))
    stream = client.models.generate_content_stream(**call)
    yield "generate stream", stream_total(stream, gemini_total)


def with_boto3():
    import boto3

    client = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key=KEY,
    )
    model = "us.anthropic.claude-sonnet-4-6"
    content = [{"text": PROMPT}]
    call = {"modelId": model, "messages": [{"role": "user", "content": content}]}
    reply = client.converse(**call, serviceTier={"type": "priority"})
    yield "converse", reply["usage"]["totalTokens"]
    stream = client.converse_stream(**call)["stream"]
    yield (
        "converse stream",
        stream_total(stream, lambda event: event.get("metadata", {}).get("usage", {}).get("totalTokens")),
    )
    body = json.dumps(
        {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 1024, "messages": MESSAGES}
    )
    classes = (
        "input_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "output_tokens",
    )
    reply = client.invoke_model(modelId=model, body=body)
    usage = json.load(reply["body"])["usage"]
    yield "invoke", sum(usage[name] for name in classes)
    stream = client.invoke_model_with_response_stream(modelId=model, body=body)["body"]
    usage = {}
    for event in stream:
        event = json.loads(event["chunk"]["bytes"])
        usage.update(event.get("message", event).get("usage") or {})
    yield "invoke stream", sum(usage[name] for name in classes)


def with_mistralai():
    from mistralai.client import Mistral

    client = Mistral(api_key=KEY)
    call = {"model": "mistral-large-2512", "messages": MESSAGES}
    yield "chat", total_tokens(client.chat.complete(**call))
    stream = client.chat.stream(**call)
    yield "chat stream", stream_total(stream, lambda event: total_tokens(event.data))


def cohere_total(usage):
    return usage and int(usage.tokens.input_tokens + usage.tokens.output_tokens)


def with_cohere():
    import cohere

    client = cohere.ClientV2(api_key=KEY)
    call = {"model": "command-a-03-2025", "messages": MESSAGES}
    yield "chat", cohere_total(client.chat(**call).usage)

    def usage(event):
        return cohere_total(event.delta.usage) if event.type == "message-end" else None

    yield "chat stream", stream_total(client.chat_stream(**call), usage)


def with_groq():
    import groq

    client = groq.Groq(api_key=KEY, max_retries=0)
    call = {"model": "openai/gpt-oss-120b", "messages": MESSAGES}
    chat = client.chat.completions.create
    yield "chat", total_tokens(chat(**call, service_tier="flex"))

    def usage(event):
        return event.x_groq and total_tokens(event.x_groq)

    yield "chat stream", stream_total(chat(**call, stream=True), usage)


def ollama_total(reply):
    return (reply.prompt_eval_count + reply.eval_count) if reply.done else None


def with_ollama():
    import ollama

    client = ollama.Client(host="https://ollama.com", headers={"authorization": f"Bearer {KEY}"})
    call = {"model": "gpt-oss:120b", "messages": MESSAGES}
    yield "chat", ollama_total(client.chat(**call))
    yield "chat stream", stream_total(client.chat(**call, stream=True), ollama_total)


def with_litellm():
    # It asks the web for prices otherwise.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    complete = litellm.completion
    for model in ("gemini/gemini-2.5-pro", "openai/gpt-5-mini", "anthropic/claude-sonnet-4-6"):
        name = model.partition("/")[0]
        call = {"model": model, "messages": MESSAGES, "api_key": KEY, "max_retries": 0}
        yield name, total_tokens(complete(**call))
        stream = complete(**call, stream=True, stream_options={"include_usage": True})
        yield f"{name} stream", stream_total(stream, total_tokens)


SDKS = {
    "openai": (with_openai, with_openai_truncated),
    "anthropic": (with_anthropic, None),
    "google-genai": (with_google_genai, None),
    "boto3": (with_boto3, None),
    "mistralai": (with_mistralai, None),
    "cohere": (with_cohere, None),
    "groq": (with_groq, None),
    "ollama": (with_ollama, None),
    "litellm": (with_litellm, None),
}


def main():
    global PROMPT
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sdk", choices=SDKS)
    parser.add_argument("--truncated", action="store_true")
    parser.add_argument("--prompt", default=PROMPT)
    args = parser.parse_args()
    PROMPT = args.prompt
    MESSAGES.append({"role": "user", "content": PROMPT})
    for name, total in SDKS[args.sdk][args.truncated]():
        print(json.dumps({"call": name, "total": total}), flush=True)


if __name__ == "__main__":
    main()
