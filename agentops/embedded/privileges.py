"""Gives up root: PostgreSQL refuses to run as root, and nothing else here should.

The servers and the product then run as the home's owner, as the user ``agentops`` where there is one, else as
``nobody``. Where that user may not enter the directories that the programs lie in (a checkout or an interpreter below
/root), the one capability to read through them is kept; no permission outside the home is ever changed.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agentops.embedded.home import ENTRIES, EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Iterable

_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 8, 47, 2
_CAPABILITY_VERSION_3 = 0x20080522


def give_up_root(home: Path, programs: Iterable[Path]) -> None:
    """Become an unprivileged user that owns ``home`` and can read ``programs``; does nothing unless root.

    Raises EmbeddedError when that is not possible here.
    """
    if os.geteuid() != 0:
        return
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    user = _choose_user(home)
    libc = ctypes.CDLL(None, use_errno=True)
    linux = sys.platform == "linux"
    if linux:
        libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    try:
        _hand_over(home, user)
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    except OSError as error:
        message = f"cannot change from root to the user {user.pw_name} ({error}); start it as an ordinary user"
        raise EmbeddedError(message) from error
    # access() judges by the real user alone, whatever capabilities are still there.
    closed = [path for path in programs if not os.access(path, os.R_OK)]
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        closed.append(home)
    if linux:
        _keep_only(libc, _reading_capability() if closed else None)
    elif closed:
        _refuse(closed[0])
    if closed and not all(_is_open(path) for path in closed):
        _refuse(closed[0])
    # libpq and others look for files below $HOME, and fail when it is root's.
    os.environ.update(HOME=str(home), USER=user.pw_name, LOGNAME=user.pw_name)


def _choose_user(home: Path) -> pwd.struct_passwd:
    owner = home.stat().st_uid
    if owner != 0:
        try:
            return pwd.getpwuid(owner)
        except KeyError:
            message = f"{home} belongs to the user id {owner}, which has no name here"
            raise EmbeddedError(message) from None
    for name in ("agentops", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    message = "there is no user called agentops or nobody to run as; start it as an ordinary user"
    raise EmbeddedError(message)


def _hand_over(home: Path, user: pwd.struct_passwd) -> None:
    """Give the user what root owns of the home; never anything that is not the product's own."""
    names = {entry.name for entry in home.iterdir()}
    strange = sorted(name for name in names - ENTRIES if not name.startswith((".", "pg.init-")))
    if home.stat().st_uid == 0:
        if strange:
            message = f"{home} holds other things ({', '.join(strange[:3])}); choose a directory of its own"
            raise EmbeddedError(message)
        os.chown(home, user.pw_uid, user.pw_gid)
    for name in names & ENTRIES:
        _chown_from_root(home / name, user)
        for directory, directories, files in os.walk(home / name):
            for child in (*directories, *files):
                _chown_from_root(Path(directory) / child, user)


def _chown_from_root(path: Path, user: pwd.struct_passwd) -> None:
    if path.lstat().st_uid == 0:
        os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _reading_capability() -> int | None:
    """Reading and searching only where root has that (containers often lack it), else the wider one."""
    status = Path("/proc/self/status").read_text()
    permitted = int(next(line for line in status.splitlines() if line.startswith("CapPrm:")).split()[1], 16)
    return next((cap for cap in (_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE) if permitted >> cap & 1), None)


def _keep_only(libc: ctypes.CDLL, capability: int | None) -> None:
    """Drop every capability but one, which children inherit over exec."""
    bits = 0 if capability is None else 1 << capability
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(bits, bits, bits, 0, 0, 0)
    if libc.capset(header, sets) != 0:
        message = f"cannot drop root's capabilities: {os.strerror(ctypes.get_errno())}"
        raise EmbeddedError(message)
    if capability is not None:
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def _is_open(path: Path) -> bool:
    """Whether the path can be reached now, with the capability that is left."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def _refuse(path: Path) -> None:
    user = pwd.getpwuid(os.geteuid()).pw_name
    message = f"as root the servers run as {user}, who may not enter {path}; start it as an ordinary user"
    raise EmbeddedError(message)
