"""What all tests share: signals as on a terminal.

A script's `&` ignores SIGINT and `nohup` SIGHUP, for all processes below; tests that interrupt programs of their own
would wait for ever.
"""

import signal

for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)
