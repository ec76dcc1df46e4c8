def running_total(numbers, limit):
    total, totals = 0, []
    for number in numbers:
        total += number
        if total > limit:
            break
        totals.append(total)
    return totals
