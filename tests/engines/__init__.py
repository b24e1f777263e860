"""Tests on engines other than those of `./run test`: MariaDB, RabbitMQ, PgBouncer, a standby.

`./run test-engines` runs them with the programs of this machine; `layouts.py` lists the layouts.
"""
