def merge_counts(left, right):
    merged = dict(left)
    for key, value in right.items():
        merged[key] = merged.get(key, 0) + value
    return sorted(merged.items(), key=lambda pair: -pair[1])
