import asyncio


async def worker(name, inbox, done):
    while (item := await inbox.get()) is not None:
        done.append(f"{name}{item}")


async def ticks(n):
    for i in range(n):
        yield i
        await asyncio.sleep(0)


async def run():
    inbox, done = asyncio.Queue(), []
    task = asyncio.create_task(worker("w", inbox, done))
    async for tick in ticks(2):
        inbox.put_nowait(tick)
    inbox.put_nowait(None)
    await task
    return done


def main():  # << START_OF_TRACE
    return asyncio.run(run())
