def initials(name, mark):
    parts = name.split()
    letters = [part[0].upper() for part in parts]
    return mark.join(letters) + mark
