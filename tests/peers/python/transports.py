"""Makes LLM API calls with an HTTP, WebSocket or gRPC library that is no SDK, and prints one JSON
line for each, as calls.py does.

    transports.py LIBRARY [messages|chat|responses] [--stream] [--calls N] [--model M] [--session ID]

The endpoint is $BPFTOK_ENDPOINT; its authority is $SSL_CERT_FILE. All calls of a run go over one
connection: one after the other, but all at once with httpx, whose HTTP/2 has streams for that.
"""

import argparse
import asyncio
import importlib
import io
import json
import os
import pathlib
import ssl
import time
import urllib.parse

import calls

ENDPOINT = calls.ENDPOINT
AUTHORITY = os.environ["SSL_CERT_FILE"]


def url(args):
    return ENDPOINT + calls.PATHS[args.api]


def headers(args):
    return {"content-type": "application/json", **calls.headers(args)}


def payload(args):
    parameters = calls.body(args)
    if args.stream:
        parameters["stream"] = True
    return json.dumps(parameters)


def report(text, **more):
    """Says what a reply of one JSON text, or of events, holds."""
    seen = calls.Seen()
    if text.startswith("{"):
        seen.take(json.loads(text))
    else:
        for line in text.splitlines():
            if line.startswith("data: {"):
                seen.take(json.loads(line.removeprefix("data: ")))
    seen.say(**more)


def with_httpx(args):
    import httpx

    async def all_at_once():
        context = ssl.create_default_context()
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(
            http2=True, verify=context, limits=limits, timeout=60
        ) as client:

            async def one():
                reply = await client.post(url(args), content=payload(args), headers=headers(args))
                report(reply.text, status=reply.status_code, protocol=reply.http_version)

            # The first call learns that the server speaks HTTP/2; only then are streams shared.
            await one()
            await asyncio.gather(*(one() for _ in range(args.calls - 1)))

    asyncio.run(all_at_once())


def with_aiohttp(args):
    import aiohttp

    async def one_by_one():
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=connector) as session:
            for _ in range(args.calls):
                async with session.post(
                    url(args), data=payload(args), headers=headers(args)
                ) as reply:
                    report(await reply.text(), status=reply.status)

    asyncio.run(one_by_one())


def with_curl_cffi(args):
    from curl_cffi import requests

    with requests.Session(verify=AUTHORITY, timeout=60) as session:
        for _ in range(args.calls):
            reply = session.post(url(args), data=payload(args), headers=headers(args))
            report(reply.text, status=reply.status_code)


def with_pycurl(args):
    import pycurl

    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url(args))
    curl.setopt(pycurl.CAINFO, AUTHORITY)
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
    curl.setopt(pycurl.TIMEOUT, 60)
    curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in headers(args).items()])
    for _ in range(args.calls):
        reply = io.BytesIO()
        curl.setopt(pycurl.WRITEDATA, reply)
        curl.setopt(pycurl.POSTFIELDS, payload(args))
        curl.perform()
        report(reply.getvalue().decode(), status=curl.getinfo(pycurl.RESPONSE_CODE))
    curl.close()


def with_websockets(args, compression):
    from websockets.asyncio.client import connect

    address = url(args).replace("https://", "wss://")
    extra = calls.headers(args) | {"authorization": "Bearer sk-test-canary"}

    async def turns():
        async with connect(
            address, additional_headers=extra, compression=compression, max_size=None
        ) as socket:
            for _ in range(args.calls):
                await socket.send(json.dumps({"type": "response.create", **calls.body(args)}))
                seen = calls.Seen()
                async for message in socket:
                    event = json.loads(message)
                    seen.take(event)
                    if event["type"] in ("response.completed", "response.failed", "error"):
                        break
                seen.say(extensions=socket.response.headers.get("sec-websocket-extensions"))

    asyncio.run(turns())


def with_grpc(args):
    """Calls a method that the endpoint does not have: the exchange is what there is to see."""
    import grpc

    with open(AUTHORITY, "rb") as authority:
        credentials = grpc.ssl_channel_credentials(authority.read())
    host = urllib.parse.urlsplit(ENDPOINT)
    with grpc.secure_channel(f"{host.hostname}:{host.port or 443}", credentials) as channel:
        method = channel.unary_unary("/bpftok.test.Model/Generate")
        for _ in range(args.calls):
            try:
                method(payload(args).encode(), timeout=60)
            except grpc.RpcError as error:
                calls.say(id=None, code=error.code().name, details=error.details())


LIBRARIES = {
    "aiohttp": with_aiohttp,
    "curl_cffi": with_curl_cffi,
    "grpc": with_grpc,
    "httpx": with_httpx,
    "pycurl": with_pycurl,
    "websockets": lambda args: with_websockets(args, None),
    "websockets-deflate": lambda args: with_websockets(args, "deflate"),
}


def wait_for(file, limit_seconds=60):
    """Waits until a file is there."""
    end = time.monotonic() + limit_seconds
    while not pathlib.Path(file).exists():
        if time.monotonic() > end:
            raise TimeoutError(file)
        time.sleep(0.01)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=sorted(LIBRARIES))
    parser.add_argument("api", nargs="?", choices=sorted(calls.PATHS), default="responses")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--calls", type=int, default=1)
    parser.add_argument("--model", default="test-model")
    parser.add_argument("--prompt", default="How many tokens is a naïve café? 漢字")
    parser.add_argument("--session", help="value of the header x-session-id")
    parser.add_argument("--module", help="a module to import first")
    parser.add_argument("--wait-for", help="a file to wait for after that")
    args = parser.parse_args()
    if args.module:
        importlib.import_module(args.module)
    if args.wait_for:
        wait_for(args.wait_for)
    args.include_usage = True
    LIBRARIES[args.library](args)


if __name__ == "__main__":
    main()
