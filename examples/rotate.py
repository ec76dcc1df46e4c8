def rotate(items, steps):
    for _ in range(steps):
        items.append(items.pop(0))
    return items
