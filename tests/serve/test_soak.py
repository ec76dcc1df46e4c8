"""10,000 requests of every kind at one server process (slow): each gets its answer, and memory stays flat."""

from __future__ import annotations

import asyncio
import random
import re
import signal

import httpx
import pytest

from opencwm.codec.tokenizer import VOCABULARY
from opencwm.world.local import SHIPPED

pytestmark = pytest.mark.slow
REQUESTS, CLIENTS, WARM = 10_000, 32, 2_000
BEGIN = [VOCABULARY.ids["<begin>"], VOCABULARY.python_start]


async def one(client: httpx.AsyncClient, url: str, rng: random.Random) -> None:
    """A request of some kind, and whether it was answered as it should be."""
    prompt = BEGIN + [rng.randrange(32, 127) for _ in range(rng.randrange(2, 120))]
    body = {"prompt": prompt, "max_tokens": rng.randrange(1, 12)}
    kind = rng.choice(["whole"] * 5 + ["several", "stream", "stream", "gone", "bad", "bad", "large", "chat"])
    if kind == "several":
        answer = await client.post(url, json=body | {"n": 3, "logprobs": 3, "seed": 1})
        assert answer.status_code == 200 and len(answer.json()["choices"]) == 3
    elif kind == "stream":
        async with client.stream("POST", url, json=body | {"stream": True}) as answer:
            lines = [line async for line in answer.aiter_lines() if line]
        assert lines[-1] == "data: [DONE]"
    elif kind == "gone":
        async with client.stream("POST", url, json=body | {"stream": True, "max_tokens": 500}) as answer:
            async for _ in answer.aiter_lines():
                break
    elif kind == "bad":
        wrong = rng.choice(
            [{"prompt": [10**6]}, {"n": 0}, {"prompt": []}, {"temperature": -1}, {"prompt": [65] * 5000}]
        )
        assert (await client.post(url, json=body | wrong)).status_code == 400
    elif kind == "large":
        assert (await client.post(url, content=b" " * 1_100_000)).status_code == 413
    elif kind == "chat":
        talk = {"messages": [{"role": "user", "content": "x"}]}
        assert (await client.post(url.replace("completions", "chat/completions"), json=talk)).status_code == 400
    else:
        answer = await client.post(url, json=body)
        assert answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] <= body["max_tokens"]


async def all_of_them(url: str, total: int, seed: int) -> None:
    left = iter(range(total))

    async def client(number: int) -> None:
        async with httpx.AsyncClient(timeout=300) as connection:
            for index in left:
                await one(connection, url, random.Random(f"{seed} {number} {index}"))

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))


def megabytes(url: str) -> float:
    page = httpx.get(f"{url}/metrics", timeout=60).text
    return float(re.search(r"^process_resident_memory_bytes (\S+)", page, re.M)[1]) / 2**20


@pytest.mark.skipif(not (SHIPPED / "model.safetensors").exists(), reason="no shipped weights in this checkout")
def test_ten_thousand_requests(process) -> None:
    with process(SHIPPED, "--body-limit", 2**20, "--threads", 1) as child:
        url = re.search(r"http://\S+:\d+", child.stdout.readline())[0]
        asyncio.run(all_of_them(f"{url}/v1/completions", WARM, 0))
        warm = megabytes(url)
        seen = [warm]
        for part in range(4):
            asyncio.run(all_of_them(f"{url}/v1/completions", (REQUESTS - WARM) // 4, part + 1))
            seen.append(megabytes(url))
        print("resident megabytes, after 2,000, 4,000, ... requests:", *(round(size, 1) for size in seen))
        assert seen[-1] - warm < 20
        assert httpx.get(f"{url}/health", timeout=60).json()["status"] == "ok"
        page = httpx.get(f"{url}/metrics", timeout=60).text
        assert "\ncwm_running_replies 0.0\n" in page and "\ncwm_waiting_replies 0.0\n" in page
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
