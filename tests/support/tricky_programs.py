"""Programs whose control flow is easy to get wrong; each has a `main` that takes no argument."""

SOURCES = {
    "finally": "def f():\n    try:\n        return 1\n    finally:\n        print()\n\ndef main():\n    return f()\n",
    "with": (
        "class C:\n    def __enter__(self):\n        return self\n    def __exit__(self, *a):\n        return True\n\n"
        "def main():\n    with C() as c:\n        raise ValueError('x')\n    return 2\n"
    ),
    "generator": (
        "def g():\n    got = yield 1\n    yield got\n\ndef main():\n    i = g()\n    next(i)\n    return i.send(5), list(i)\n"
    ),
    "decorated": "def d(f):\n    return lambda *a: f(*a)\n\n@d\ndef f(x):\n    return x\n\ndef main():\n    return f(1)\n",
    "property": (
        "class P:\n    def __init__(self):\n        self.v = 1\n    @property\n    def w(self):\n        return self.v\n\n"
        "def main():\n    return P().w\n"
    ),
    "passed function": "def k(x):\n    return -x\n\ndef main():\n    return sorted([1, 2], key=k)\n",
    "an exception that library code takes": (
        "class I:\n    def __init__(self):\n        self.n = 2\n    def __iter__(self):\n        return self\n"
        "    def __next__(self):\n        if not self.n:\n            raise StopIteration\n        self.n -= 1\n"
        "        return self.n\n    def __getattr__(self, name):\n        raise AttributeError(name)\n\n"
        "def g():\n    yield 1\n    yield 2\n\n"
        "def main():\n    it = g()\n    next(it)\n    it.close()\n    return list(I()), hasattr(I(), 'x'), sum(I())\n"
    ),
    "a sequence by its items": (
        "class S:\n    def __getitem__(self, i):\n        if i > 1:\n            raise IndexError(i)\n        return i\n\n"
        "def main():\n    n = 0\n    for x in S():\n        n += x\n    return n, 1 in S()\n"
    ),
    "uncaught": "def main():\n    x = [1]\n    return x[3]\n",
    "async": (
        "import asyncio\n\nasync def a():\n    await asyncio.sleep(0)\n    return 1\n\n"
        "def main():\n    return asyncio.run(a())\n"
    ),
    "comprehensions on one line": "def f(m):\n    return [sorted(r) for r in [m[i:i + 2] for i in range(2)]]\n\ndef main():\n    return f([2, 1])\n",
    "del and except as": (
        "def main():\n    x = 1\n    del x\n    try:\n        x\n    except NameError as e:\n        y = str(e)\n    return y\n"
    ),
    "handled deep": (
        "def g(x):\n    return 1 // x\n\ndef f(x):\n    try:\n        return g(x)\n    except ZeroDivisionError as error:\n"
        "        y = str(error)\n    finally:\n        z = 'é\\n\"😀'\n    return [y, z]\n\ndef main():\n    return f(0)\n"
    ),
    "nonlocal": (
        "def main():\n    n = 0\n    def up():\n        nonlocal n, m\n        n += 1\n        m = n\n    m = None\n    up()\n"
        "    return n, m, [n + i for i in range(2)]\n"
    ),
    "values": (
        "import re\nfrom collections import OrderedDict, deque\n\ndef main():\n    a = (1,), {}, {1: [2.5, -3]}, {'k'}, set()\n"
        "    b = b'\\x00q', \"it's\", 'say \"x\"', '\\\\'\n    c = OrderedDict(x=1), deque([1], maxlen=3), slice(1, None)\n"
        "    d = ..., 1e-09, 1 + 2j, float('inf'), main, int\n    return None\n"
    ),
}
