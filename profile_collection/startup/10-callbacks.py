import atexit

from xrm_sims.app.console.ipython import RunTables
from xrm_sims.app.console.live_picture import LivePicture

bec = RunTables()
bec.disable_plots()
live_picture = LivePicture(session.data / "pictures" / "live.png")  # noqa: F821 - made by 00-session.py
RE.subscribe(bec)  # noqa: F821
RE.subscribe(live_picture)  # noqa: F821
atexit.register(live_picture.finish)
