"""
What the tests of disturbances share.

`world` is what an administrator sets up, `story` what people do in it with objects of all `kinds`, `endstate` how it
ended, and `stage` all of them together; `account` counts requests and reads logs, `clock` runs an operator whose clock
is wrong, `seeds` says what dice are thrown with.
"""
