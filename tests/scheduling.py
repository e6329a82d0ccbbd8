"""How pytest-xdist divides the tests among its workers."""

from xdist.scheduler import LoadFileScheduling

from tests.selection import work_unit_of


class ByServer(LoadFileScheduling):
    """By module, as --dist=loadfile does, but modules that share a server stay together."""

    def _split_scope(self, nodeid: str) -> str:
        return work_unit_of(super()._split_scope(nodeid))
