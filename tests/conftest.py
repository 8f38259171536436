"""Settings of the whole suite: Channel Access (libca reads its environment only when ophyd is imported), and measured
data from others."""

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
    """A synchrotron scan of a tooth, in DataExchange. All its features are also tested on synthetic scans."""
    path = os.environ.get("XRM_SIMS_TOOTH_H5")
    if not path:
        pytest.skip("needs TomoPy's tooth.h5, which is not part of the repository: XRM_SIMS_TOOTH_H5=path/to/tooth.h5")
    assert Path(path).is_file(), f"XRM_SIMS_TOOTH_H5: there is no {path}"
    return Path(path)
