def numbers(limit):
    n = 0
    while n < limit:
        step = yield n
        n += step or 1


def pairs(limit):
    last = None
    for n in numbers(limit):
        if last is not None:
            yield last, n
        last = n
    return "done"


def main():  # << START_OF_TRACE
    steps = numbers(9)
    seen = [next(steps), steps.send(5)]
    for pair in pairs(9):
        seen.append(pair)
        if len(seen) > 3:
            break
    return seen
