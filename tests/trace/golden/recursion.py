def permutations(items):
    if len(items) < 2:
        return [items]
    found = []
    for index, item in enumerate(items):
        for rest in permutations(items[:index] + items[index + 1 :]):
            found.append([item, *rest])
    return found


def main():  # << START_OF_TRACE
    return permutations([1, 2, 3])
