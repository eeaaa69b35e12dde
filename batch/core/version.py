"""The version of this program, for what it says of itself to servers and in reports.

Stands here, and is not asked of the installed package: reading that loads the mail modules and half a dozen more, some
30 ms of each start. A test holds that the package has the same one.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
