"""Makes LLM API calls with a real client and prints one JSON line for each.

The endpoint is $BPFTOK_ENDPOINT; its authority is $SSL_CERT_FILE. A line holds what the client
itself understood: the id of the response, and the usage where it was given any. Without a client
it makes one call of every kind, each to a model of its API.
"""

import argparse
import asyncio
import gzip
import http.client
import json
import os
import ssl
import sys
import threading
import urllib.parse
import zlib

ENDPOINT = os.environ["BPFTOK_ENDPOINT"]
PATHS = {
    "messages": "/v1/messages",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
}
KINDS = [
    ("stdlib", "messages"),
    ("stdlib", "chat"),
    ("stdlib", "responses"),
    ("openai", "chat"),
    ("openai", "responses"),
    ("openai-async", "chat"),
    ("openai-async", "responses"),
    ("anthropic", "messages"),
    ("anthropic-async", "messages"),
]
MODELS = {"messages": "claude-sonnet", "chat": "gpt-5-mini", "responses": "gpt-5"}
PRINTING = threading.Lock()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", nargs="?", choices=sorted({client for client, _ in KINDS}))
    parser.add_argument("api", nargs="?", choices=sorted(PATHS))
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--include-usage", action="store_true")
    parser.add_argument("--calls", type=int, default=1, help="calls a connection")
    parser.add_argument("--connections", type=int, default=1, help="at once")
    parser.add_argument("--model", default="test-model")
    parser.add_argument("--plan", default="", help="how the endpoint is to reply")
    parser.add_argument("--prompt", default="How many tokens is a naïve café? 漢字")
    parser.add_argument("--session", help="value of the header x-session-id")
    parser.add_argument("--retries", type=int, default=0)
    parser.add_argument("--hang-up", type=int, help="close after so many events of a stream")
    parser.add_argument("--hold", action="store_true", help="wait for a line on stdin first")
    return parser.parse_args()


def base_url(args):
    return f"{ENDPOINT}/plan/{args.plan}" if args.plan else ENDPOINT


def headers(args):
    return {"x-session-id": args.session} if args.session else {}


def body(args):
    """The parameters of a call, which the SDKs take and the wire carries alike."""
    message = {"role": "user", "content": args.prompt}
    if args.api == "messages":
        return {"model": args.model, "max_tokens": 1024, "messages": [message]}
    if args.api == "responses":
        return {"model": args.model, "input": args.prompt}
    parameters = {"model": args.model, "messages": [message]}
    if args.stream and args.include_usage:
        parameters["stream_options"] = {"include_usage": True}
    return parameters


def say(**fields):
    with PRINTING:
        print(json.dumps({"pid": os.getpid(), **fields}), flush=True)


class Seen:
    """What a client has understood of one reply."""

    def __init__(self):
        self.id = None
        self.usage = {}
        self.events = 0

    def take(self, event):
        """Takes a body, or an event of a stream, as a dictionary."""
        self.events += 1
        holder = event.get("message") or event.get("response") or event
        if isinstance(holder, dict):
            if str(holder.get("id", "")).startswith(("msg_", "chatcmpl-", "resp_")):
                self.id = holder["id"]
            for key, value in (holder.get("usage") or {}).items():
                if isinstance(value, int):
                    self.usage[key] = value

    def say(self, **more):
        say(id=self.id, events=self.events, usage=self.usage, **more)


def as_dictionary(model):
    return model.model_dump(mode="json", warnings=False)


# The standard library: http.client on ssl.


def decompress(encoding, content):
    if encoding == "gzip":
        return gzip.decompress(content)
    if encoding == "deflate":
        return zlib.decompress(content)
    return content


def with_stdlib(args):
    url = urllib.parse.urlsplit(base_url(args))
    connection = http.client.HTTPSConnection(
        url.hostname, url.port, context=ssl.create_default_context(), timeout=60
    )
    parameters = body(args)
    if args.stream:
        parameters["stream"] = True
    for _ in range(args.calls):
        connection.request(
            "POST",
            url.path + PATHS[args.api],
            json.dumps(parameters),
            {"content-type": "application/json", **headers(args)},
        )
        reply = connection.getresponse()
        seen = Seen()
        try:
            content = decompress(reply.headers.get("content-encoding"), reply.read()).decode()
        except (http.client.IncompleteRead, ssl.SSLError, ConnectionError) as error:
            seen.say(error=type(error).__name__)
            connection.close()
            continue
        if reply.headers["content-type"].startswith("text/event-stream"):
            for line in content.splitlines():
                if line.startswith("data: {"):
                    seen.take(json.loads(line.removeprefix("data: ")))
        else:
            seen.take(json.loads(content))
        seen.say(status=reply.status)
    connection.close()


# The official SDKs.


def openai_options(args):
    return {
        "base_url": base_url(args) + "/v1",
        "api_key": "sk-test-canary",
        "max_retries": args.retries,
        "default_headers": headers(args),
    }


def anthropic_options(args):
    return {
        "base_url": base_url(args),
        "api_key": "sk-test-canary",
        "max_retries": args.retries,
        "default_headers": headers(args),
    }


def create_of(client, args):
    if args.api == "messages":
        return client.messages.create
    if args.api == "chat":
        return client.chat.completions.create
    return client.responses.create


def with_sdk(args, client, error_type):
    with client:
        for _ in range(args.calls):
            seen = Seen()
            try:
                reply = create_of(client, args)(**body(args), stream=args.stream)
                if args.stream:
                    for event in reply:
                        seen.take(as_dictionary(event))
                        if seen.events == args.hang_up:
                            break
                    reply.close()
                else:
                    seen.take(as_dictionary(reply))
                seen.say()
            except error_type as error:
                seen.say(error=type(error).__name__)


async def with_async_sdk(args, client, error_type):
    async with client:
        for _ in range(args.calls):
            seen = Seen()
            try:
                reply = await create_of(client, args)(**body(args), stream=args.stream)
                if args.stream:
                    async for event in reply:
                        seen.take(as_dictionary(event))
                        if seen.events == args.hang_up:
                            break
                    await reply.close()
                else:
                    seen.take(as_dictionary(reply))
                seen.say()
            except error_type as error:
                seen.say(error=type(error).__name__)


def transport_errors():
    """Errors of the HTTP library below the SDKs, which a broken stream lets through."""
    found = []
    for name in ("httpx", "httpx2"):
        module = sys.modules.get(name)
        if module:
            found.append(module.HTTPError)
    return tuple(found)


def run(args):
    if args.client.startswith("openai"):
        import openai as sdk
    elif args.client.startswith("anthropic"):
        import anthropic as sdk
    if args.client != "stdlib":
        errors = (sdk.APIError, *transport_errors())
    if args.hold:
        print("holding", flush=True)
        sys.stdin.readline()

    if args.client.endswith("-async"):

        def make():
            if args.client == "openai-async":
                return sdk.AsyncOpenAI(**openai_options(args))
            return sdk.AsyncAnthropic(**anthropic_options(args))

        async def all_at_once():
            await asyncio.gather(
                *(with_async_sdk(args, make(), errors) for _ in range(args.connections))
            )

        asyncio.run(all_at_once())
        return

    def one():
        if args.client == "openai":
            with_sdk(args, sdk.OpenAI(**openai_options(args)), errors)
        elif args.client == "anthropic":
            with_sdk(args, sdk.Anthropic(**anthropic_options(args)), errors)
        else:
            with_stdlib(args)

    threads = [threading.Thread(target=one) for _ in range(args.connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main():
    args = arguments()
    if args.client:
        run(args)
        return
    for args.client, args.api in KINDS:
        args.model = MODELS[args.api]
        for args.stream in (False, True):
            run(args)


if __name__ == "__main__":
    main()
