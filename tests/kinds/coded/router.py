"""Where the models of this folder live: each says it itself."""

from tests.kinds.hostile.router import HostileRouter


class CodedRouter(HostileRouter):
    label = "coded"
