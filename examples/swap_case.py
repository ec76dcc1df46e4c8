def swap_case(text, every):
    result = ""
    for index, letter in enumerate(text):
        result += letter.upper() if index % every == 0 else letter.lower()
    return result[::-1]
