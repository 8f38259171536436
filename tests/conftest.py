"""What the whole suite shares: Channel Access (libca reads its environment when ophyd is imported, and only then), and
data that others measured."""

import os
import socket
from pathlib import Path

import pytest


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


os.environ.update(
    EPICS_CA_ADDR_LIST="127.0.0.1",
    EPICS_CA_AUTO_ADDR_LIST="NO",
    EPICS_CA_SERVER_PORT=str(free_port()),
    EPICS_CAS_INTF_ADDR_LIST="127.0.0.1",
    EPICS_CAS_AUTO_BEACON_ADDR_LIST="NO",
)


@pytest.fixture
def tooth():
    """A synchrotron's scan of a tooth, in DataExchange. Everything it shows is also tested on synthetic scans."""
    path = os.environ.get("XRM_SIMS_TOOTH_H5")
    if not path:
        pytest.skip(
            "needs TomoPy's tooth.h5, data of others that are not kept here: XRM_SIMS_TOOTH_H5=path/to/tooth.h5"
        )
    assert Path(path).is_file(), f"XRM_SIMS_TOOTH_H5: there is no {path}"
    return Path(path)
